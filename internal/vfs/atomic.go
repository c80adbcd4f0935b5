package vfs

import (
	"errors"
	"io/fs"
	"iter"
	"path"
	"syscall"
)

// SyncOptions says how durable the result is when a function returns.
type SyncOptions struct {
	File bool // contents
	Dir  bool // names
}

// WriteFileAtomic makes name hold data, whole or not at all: data is written to
// the name aside (on the same file system; a leftover there is removed), synced
// and renamed over name. On an error name is as it was, unless only the sync of
// the directory failed.
func WriteFileAtomic(f FS, aside, name string, data []byte, o SyncOptions) error {
	if err := PutAside(f, aside, data, PutOptions{Sync: o.File}); err != nil {
		return err
	}
	if err := f.Rename(aside, name); err != nil {
		return errors.Join(err, f.Remove(aside))
	}
	if o.Dir {
		return f.SyncDir(path.Dir(name))
	}
	return nil
}

// CreateAnew makes a file with a name under which an interrupted attempt may have left another one,
// which is removed.
func CreateAnew(f FS, name string) (File, error) {
	file, err := f.Create(name)
	if errors.Is(err, fs.ErrExist) {
		if err = f.Remove(name); err == nil {
			file, err = f.Create(name)
		}
	}
	return file, err
}

// MkdirAll makes a directory and any missing parents. It returns the directories that it made,
// outermost first, even with an error. The caller can then make their names durable, each by
// SyncDir of its parent.
func MkdirAll(f FS, dir string) (made []string, err error) {
	if dir == "." || dir == "" {
		return nil, nil
	}
	err = f.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if made, err = MkdirAll(f, path.Dir(dir)); err != nil {
			return made, err
		}
		err = f.Mkdir(dir)
	}
	if errors.Is(err, fs.ErrExist) {
		return made, wantDir(f, dir)
	}
	if err != nil {
		return made, err
	}
	return append(made, dir), nil
}

func wantDir(f FS, name string) error {
	info, err := f.Stat(name)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "mkdir", Path: f.Path(name), Err: syscall.ENOTDIR}
	}
	return err
}

// RemoveAll removes a file, or a directory with all that is in it.
func RemoveAll(f FS, name string) error {
	info, err := f.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		var names []string
		for e, err := range f.List(name) {
			if err != nil {
				return err
			}
			names = append(names, e.Name)
		}
		for _, n := range names {
			if err := RemoveAll(f, path.Join(name, n)); err != nil {
				return err
			}
		}
	}
	return f.Remove(name)
}

// Walk yields the names of all files below dir that are not directories, in no
// order, relative to the root of f. It stops after the first error. A
// directory that is removed meanwhile is passed over.
func Walk(f FS, dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { walk(f, dir, yield) }
}

func walk(f FS, dir string, yield func(string, error) bool) bool {
	for e, err := range f.List(dir) {
		if errors.Is(err, fs.ErrNotExist) {
			return true
		}
		name := path.Join(dir, e.Name)
		if err == nil && e.IsDir() {
			if !walk(f, name, yield) {
				return false
			}
			continue
		}
		if !yield(name, err) || err != nil {
			return false
		}
	}
	return true
}
