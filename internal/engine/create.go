package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Create makes a new, empty HOME: no root object, no transaction, last tid
// zero. The directory above must exist. HOME itself must not, or must be an empty
// directory, such as a mounted volume, with or without lost+found. A HOME that does not exist
// is made under a temporary name beside it, and gets its own name when it is whole and
// durable; in an existing one, config/settings appears when everything else is durable. So
// the remains of a crash are never taken for a storage, and the next Create begins anew.
//
// The error matches fs.ErrExist if anything else is there, and ErrLocked if another process
// makes the same HOME.
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
	parent, final, err := placeOf(home, o.fs)
	if err != nil {
		return err
	}
	c := creator{fs: parent, base: "." + final + ".new"}
	if err := c.create(final, func() { c.populate(format, text, identity) }); err != nil {
		return fmt.Errorf("create %s: %w", parent.Path(final), vfs.WithFull(err))
	}
	return nil
}

// Validate returns an *OptionError if Create would refuse the options, at any place. It
// touches no disk.
func (o CreateOptions) Validate() error {
	_, _, err := o.withDefaults().settings()
	return err
}

// settings returns the format and the text of config/settings. The error is an
// *OptionError.
func (o CreateOptions) settings() (layout.Format, []byte, error) {
	format, err := layout.ParseFormat(o.Format)
	if err != nil {
		return "", nil, &zodb.OptionError{Option: "format", Err: err}
	}
	if o.Class != zodb.ClassFull && o.Class != zodb.ClassMinimal {
		return "", nil, &zodb.OptionError{Option: "class", Err: fmt.Errorf("unknown class %q: want %s or %s", o.Class, zodb.ClassFull, zodb.ClassMinimal)}
	}
	if format == layout.Bundled && o.Class == zodb.ClassMinimal {
		return "", nil, &zodb.OptionError{Option: "class", Err: errors.New("the format bundled has no class Minimal: take Full, or the format chunky, bushy, lawn or flat")}
	}
	text, err := newSettings(format, o)
	if err != nil {
		return "", nil, &zodb.OptionError{Option: "set", Err: err}
	}
	return format, text, nil
}

// newSettings returns the text of config/settings.
func newSettings(format layout.Format, o CreateOptions) ([]byte, error) {
	text := o.Text
	if len(text) == 0 {
		text = settings.Default(string(o.Class), format).Render()
	}
	var err error
	for option, value := range map[[2]string]string{{"structure", "format"}: format.String(), {"storage", "classname"}: string(o.Class)} {
		if text, err = settings.Update(text, option[0], option[1], value); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.Set)) {
		section, option, ok := strings.Cut(key, ".")
		if !ok {
			return nil, fmt.Errorf("%q is not a setting: want section.option", key)
		}
		if text, err = settings.Update(text, section, option, o.Set[key]); err != nil {
			return nil, err
		}
	}
	have, warnings, err := settings.Parse(text, home.SettingsFile)
	if err != nil {
		return nil, err
	}
	if have.Structure.Format != format || have.Storage.ClassName != string(o.Class) {
		return nil, fmt.Errorf("structure.format and storage.classname say %s and %s: they come from the format and the class of the new home, which are %s and %s",
			have.Structure.Format, have.Storage.ClassName, format, o.Class)
	}
	if len(o.Text) == 0 && len(warnings) > 0 { // about given options: the rest is our own
		return nil, fmt.Errorf("%s", warnings[0])
	}
	return text, nil
}
