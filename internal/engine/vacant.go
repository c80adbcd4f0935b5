package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// born is the directory that makes a HOME a storage; unborn is its name before all the rest
// of a new HOME is there: the mark of one that is being made, or that a crash left so.
const (
	born   = "config"
	unborn = "config.new"
)

// lostAndFound is on each new file system of some kinds.
const lostAndFound = "lost+found"

// Vacant reports whether [Create] would make a storage at home: there is nothing, an
// empty directory, or the remains of an interrupted Create.
func Vacant(home string) (bool, error) {
	parent, final, err := placeOf(home, nil)
	if err != nil {
		return false, err
	}
	_, err = vacancy(parent, final)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// placeOf returns the directory above a HOME, and the name of HOME in it. If HOME is a
// symbolic link they are those of the directory to which it leads.
func placeOf(home string, given vfs.FS) (parent vfs.FS, name string, err error) {
	f, err := vfs.OS(home)
	if err != nil {
		return nil, "", err
	}
	abs := f.Path(".")
	if given != nil {
		return given, filepath.Base(abs), nil
	}
	parent, err = vfs.OS(filepath.Dir(abs))
	return parent, filepath.Base(abs), err
}

// vacancy reports whether a directory exists that a new storage may fill. The error
// matches fs.ErrExist, and names the obstacle, if something is there that may not be
// touched.
func vacancy(f vfs.FS, dir string) (exists bool, err error) {
	info, err := f.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, settings.NotAHome(vfs.Sub(f, dir), home.SettingsFile, err)
	case info.Mode.IsRegular():
		return true, fmt.Errorf("%w: it is a file", fs.ErrExist)
	case !info.IsDir():
		return true, fmt.Errorf("%w: it is not a directory", fs.ErrExist)
	}
	if _, err := f.Stat(path.Join(dir, home.SettingsFile)); err == nil {
		return true, fmt.Errorf("%w: it is a storage", fs.ErrExist)
	}
	foreign, err := notOurs(f, dir, unborn)
	if err == nil && foreign != "" {
		err = fmt.Errorf("%w: the directory is not empty: it holds %s", fs.ErrExist, foreign)
	}
	return true, err
}

// notOurs returns a name in a directory that no Create made there; "" if there is none.
// If one of the marks is there, each a name of config, there may be all that creator
// makes, else only the lock.
func notOurs(f vfs.FS, dir string, marks ...string) (string, error) {
	begun := false
	for _, mark := range marks {
		_, err := f.Stat(path.Join(dir, mark))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		begun = begun || err == nil
	}
	for e, err := range f.List(dir) {
		if err != nil {
			return "", err
		}
		var ours func(name string) bool
		switch name := e.Name; {
		case (name == lostAndFound || name == layout.ProbeDir) && e.IsDir():
			continue
		case name == "misc":
			ours = func(name string) bool { return name == home.LockFile }
		case !begun:
		case slices.Contains(marks, name):
			ours = func(in string) bool { return in == name+"/settings" || in == name+"/identity" }
		case name == string(store.A):
			ours = formats.OfEmpty
		case name == string(store.B) || name == "journal":
			ours = func(string) bool { return false }
		}
		if ours == nil || !e.IsDir() {
			return e.Name, nil
		}
		sub := vfs.Sub(f, dir)
		for name, err := range vfs.Walk(sub, e.Name) {
			if err != nil {
				return "", err
			}
			if !ours(name) {
				return name, nil
			}
		}
	}
	return "", nil
}
