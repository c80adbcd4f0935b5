package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"syscall"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// creator makes files below base until something fails.
type creator struct {
	fs    vfs.FS
	base  string
	marks []string // of a HOME that is not made yet
	dirs  []string // that were made in base
	err   error
}

// create makes a HOME with the name final: in base, which gets that name, or in the
// empty directory that has it.
func (c *creator) create(final string, populate func()) (err error) {
	if err := vfs.WantDir(c.fs); err != nil {
		return err
	}
	inPlace, err := vacancy(c.fs, final)
	if err != nil {
		return err
	}
	if c.marks = []string{unborn, born}; inPlace {
		c.base, c.marks = final, c.marks[:1]
	} else if err := c.fs.Mkdir(c.base); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	lock, err := c.lock()
	if err != nil {
		return errors.Join(c.overtaken(err, final), c.removeEmpty(inPlace))
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	// Again: another process may have been at work.
	foreign, err := notOurs(c.fs, c.base, c.marks...)
	err = c.overtaken(err, final)
	if err == nil && foreign != "" {
		err = fmt.Errorf("%w: %s holds %s, which no create made: move it away", fs.ErrExist, c.fs.Path(c.base), foreign)
	}
	if err != nil {
		return err
	}
	if err := c.clear(); err != nil {
		return fmt.Errorf("remove the leftovers of an interrupted create: %w", err)
	}
	if populate(); c.err == nil && !inPlace {
		c.err = c.fs.Rename(c.base, final)
	}
	if c.err == nil {
		c.err = c.fs.SyncDir(".")
	}
	if c.err == nil {
		return nil
	}
	if !inPlace {
		return errors.Join(c.err, removeIfThere(c.fs, c.base))
	}
	return errors.Join(c.err, c.clear())
}

// lock keeps other processes away from base.
func (c *creator) lock() (vfs.Lock, error) {
	if err := c.fs.Mkdir(path.Join(c.base, "misc")); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	lock, err := c.fs.Lock(path.Join(c.base, home.LockFile))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: another process makes it: %w", zodb.ErrLocked, err)
	}
	return lock, err
}

// overtaken returns the error of a step under the name base: ErrLocked if another process has given that
// directory the name final meanwhile.
func (c *creator) overtaken(err error, final string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, serr := c.fs.Stat(path.Join(final, home.SettingsFile)); serr != nil {
		return err
	}
	return fmt.Errorf("%w: another process has just made it", zodb.ErrLocked)
}

// removeEmpty removes the directories that were made without the lock. It may be another
// process's by now: then it holds something, and stays.
func (c *creator) removeEmpty(inPlace bool) error {
	names := []string{path.Join(c.base, "misc"), c.base}
	if inPlace {
		names = names[:1]
	}
	for _, name := range names {
		err := c.fs.Remove(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
			return err
		}
	}
	return nil
}

// clear removes the files that a create made in base, the mark last and the lock not at
// all. It does nothing if there is no mark: then nothing was made, or the storage is
// whole.
func (c *creator) clear() error {
	begun := false
	for _, mark := range c.marks {
		_, err := c.fs.Stat(path.Join(c.base, mark))
		begun = begun || err == nil
	}
	if !begun {
		return nil
	}
	for _, name := range []string{string(store.A), string(store.B), "journal"} {
		if err := removeIfThere(c.fs, path.Join(c.base, name)); err != nil {
			return err
		}
	}
	if err := c.fs.SyncDir(c.base); err != nil {
		return err
	}
	var errs []error
	for _, mark := range c.marks {
		errs = append(errs, removeIfThere(c.fs, path.Join(c.base, mark)))
	}
	return errors.Join(errs...)
}

func removeIfThere(f vfs.FS, name string) error {
	if err := vfs.RemoveAll(f, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// populate makes all that is in a new HOME, durably. It is a storage from the last step on.
func (c *creator) populate(format layout.Format, text []byte, identity string) {
	c.mkdir(unborn)
	c.sync("")                                                                          // the mark, before anything that it marks
	for _, dir := range []string{string(store.A), string(store.B), "journal", "misc"} { // misc may be there, with the lock
		c.mkdir(dir)
	}
	c.write(unborn+"/settings", text)
	c.write(unborn+"/identity", []byte(identity))
	for _, f := range formats.Empty(format) {
		if dir := path.Dir(f.Path); !slices.Contains(c.dirs, dir) {
			c.mkdir(dir)
		}
		c.write(f.Path, f.Content)
	}
	for _, dir := range c.dirs {
		c.sync(dir)
	}
	c.sync("misc")
	c.sync("")
	if c.err == nil {
		c.err = c.fs.Rename(path.Join(c.base, unborn), path.Join(c.base, born))
	}
	c.sync("")
}

func (c *creator) mkdir(dir string) {
	if c.err != nil {
		return
	}
	if c.err = c.fs.Mkdir(path.Join(c.base, dir)); errors.Is(c.err, fs.ErrExist) {
		c.err = nil
		return
	}
	c.dirs = append(c.dirs, dir)
}

func (c *creator) write(name string, data []byte) {
	if c.err == nil {
		_, c.err = vfs.Put(c.fs, path.Join(c.base, name), data, true)
	}
}

func (c *creator) sync(dir string) {
	if c.err == nil {
		c.err = c.fs.SyncDir(path.Join(c.base, dir))
	}
}
