package dirstorage

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Create makes a new, empty HOME: no root object, no transaction, last tid
// zero. The directory above must exist, HOME itself must not. It is made under
// a temporary name beside it and gets its own when it is whole and durable, so
// a crash leaves no half a storage.
func Create(home string, o CreateOptions) error {
	o = o.withDefaults()
	format, text, err := o.settings()
	if err != nil {
		return err
	}
	identity, err := settings.NewIdentity(o.Rand)
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(home)
	if err != nil {
		return err
	}
	parent := o.fs
	if parent == nil {
		if parent, err = vfs.OS(filepath.Dir(abs)); err != nil {
			return err
		}
	}
	final := filepath.Base(abs)
	if err := vfs.WantDir(parent); err != nil {
		return fmt.Errorf("create %s: %w", abs, err)
	}
	if _, err := parent.Stat(final); err == nil {
		return fmt.Errorf("create %s: %w", abs, fs.ErrExist)
	}
	c := creator{fs: parent, base: "." + final + ".new"}
	if err := vfs.RemoveAll(parent, c.base); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("create %s: remove what an interrupted create left: %w", abs, err)
	}
	c.mkdir("")
	c.populate(format, text, identity)
	if c.err == nil {
		c.err = parent.Rename(c.base, final)
	}
	if c.err == nil {
		c.err = parent.SyncDir(".")
	}
	if c.err != nil {
		return fmt.Errorf("create %s: %w", abs, withDiskFull(errors.Join(c.err, cleanUp(parent, c.base))))
	}
	return nil
}

// OptionError says that an option of a new HOME has a value that it cannot have.
type OptionError struct {
	Option string // "format", "class" or "set"
	Err    error
}

func (e *OptionError) Error() string { return e.Option + ": " + e.Err.Error() }

// Unwrap returns what is wrong with the value.
func (e *OptionError) Unwrap() error { return e.Err }

// Validate returns an *OptionError if Create would refuse the options, whatever the
// place. It touches no disk.
func (o CreateOptions) Validate() error {
	_, _, err := o.withDefaults().settings()
	return err
}

// settings returns the format and the text of config/settings. The error is an
// *OptionError.
func (o CreateOptions) settings() (layout.Format, []byte, error) {
	format, err := layout.ParseFormat(o.Format)
	if err != nil {
		return "", nil, &OptionError{"format", err}
	}
	if o.Class != ClassFull && o.Class != ClassMinimal {
		return "", nil, &OptionError{"class", fmt.Errorf("unknown class %q: want %s or %s", o.Class, ClassFull, ClassMinimal)}
	}
	text, err := newSettings(format, o)
	if err != nil {
		return "", nil, &OptionError{"set", err}
	}
	return format, text, nil
}

// newSettings returns the text of config/settings.
func newSettings(format layout.Format, o CreateOptions) ([]byte, error) {
	text := settings.Default(string(o.Class), format).Render()
	for _, key := range slices.Sorted(maps.Keys(o.Set)) {
		section, option, ok := strings.Cut(key, ".")
		if !ok {
			return nil, fmt.Errorf("%q is not a setting: want section.option", key)
		}
		var err error
		if text, err = settings.Update(text, section, option, o.Set[key]); err != nil {
			return nil, err
		}
	}
	_, warnings, err := settings.Parse(text, settingsFile)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings { // about what was set: the rest is our own
		return nil, fmt.Errorf("%s", w)
	}
	return text, nil
}

func cleanUp(f vfs.FS, name string) error {
	if err := vfs.RemoveAll(f, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// creator makes files below base until something fails.
type creator struct {
	fs   vfs.FS
	base string
	dirs []string
	err  error
}

// populate makes all that is in a new HOME, durably.
func (c *creator) populate(format layout.Format, text []byte, identity string) {
	for _, dir := range []string{"A", "B", "journal", "misc", "config"} {
		c.mkdir(dir)
	}
	c.write(settingsFile, text)
	c.write(identityFile, []byte(identity))
	for _, n := range []layout.Name{layout.XOID, layout.XSerial, layout.XPacked} {
		name := "A/" + format.Path(n)
		if dir := path.Dir(name); dir != "A" {
			c.mkdir(dir)
		}
		c.write(name, record.AppendX(nil, 0))
	}
	c.syncDirs()
}

func (c *creator) mkdir(dir string) {
	if c.err != nil {
		return
	}
	name := path.Join(c.base, dir)
	if c.err = c.fs.Mkdir(name); errors.Is(c.err, fs.ErrExist) {
		c.err = nil
		return
	}
	c.dirs = append(c.dirs, name)
}

func (c *creator) write(name string, data []byte) {
	if c.err != nil {
		return
	}
	f, err := c.fs.Create(path.Join(c.base, name))
	if err == nil {
		_, err = f.Write(data)
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	c.err = err
}

func (c *creator) syncDirs() {
	for _, d := range c.dirs {
		if c.err == nil {
			c.err = c.fs.SyncDir(d)
		}
	}
}
