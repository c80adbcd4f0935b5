package classic

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
)

// Removal takes files out of A, by new names or for good. Nothing of it is
// durable before Sync. It may be repeated after an error or a crash. It is used by
// one goroutine, which is the one that puts files.
type Removal struct {
	t     *Store
	stamp int64
	dirs  map[string]struct{} // from which something was removed, since the last Sync
}

// NewRemoval begins to remove. Files get the name NAME-STAMP-deleted, STAMP being
// seconds since 1970, or with a stamp of 0 they are unlinked.
func (t *Store) NewRemoval(stamp int64) *Removal {
	return &Removal{t: t, stamp: stamp, dirs: make(map[string]struct{})}
}

// Deleted returns the name, relative to HOME, of a file of A that was put aside.
func (t *Store) Deleted(n layout.Name, stamp int64) string {
	return fmt.Sprintf("%s-%d-deleted", t.Path(store.A, n), stamp)
}

// Remove removes a file and returns its size. If the file is not there, removed is false,
// without an error.
func (r *Removal) Remove(n layout.Name) (size int64, removed bool, err error) {
	name := r.t.Path(store.A, n)
	info, err := r.t.fs.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		r.t.relyOnRemoval(name)
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if r.stamp == 0 {
		err = r.t.fs.Remove(name)
	} else {
		err = r.putAside(name, r.t.Deleted(n, r.stamp))
	}
	if err != nil {
		r.t.debts.name(dirOf(name)) // it may be done all the same, and then nobody does it again
		return 0, false, err
	}
	r.removed(name)
	return info.Size, true, nil
}

// putAside renames a file. After a crash in an attempt before, both may be names of
// one file; then a rename does nothing, and the first name has to be removed.
func (r *Removal) putAside(name, deleted string) error {
	if err := r.t.fs.Rename(name, deleted); err != nil {
		return err
	}
	if err := r.t.fs.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Unlink removes a file that was put aside, name relative to HOME.
func (r *Removal) Unlink(name string) error {
	if err := r.t.fs.Remove(name); err != nil {
		r.t.debts.name(dirOf(name))
		return err
	}
	r.removed(name)
	return nil
}

func (r *Removal) removed(name string) {
	r.dirs[dirOf(name)] = struct{}{}
	r.t.debts.name(dirOf(name))
}

// Sync makes the removals so far durable, and pays all that the tree owes.
// Directories that became empty are removed too.
func (r *Removal) Sync() error {
	err := r.removeEmpty()
	clear(r.dirs)
	if err != nil {
		return err
	}
	return r.t.Sync()
}

// removeEmpty removes directories that have nothing in them any more, and then
// those above them.
func (r *Removal) removeEmpty() error {
	for dir := range r.dirs {
		for d := dir; d != string(store.A) && d != "."; d = path.Dir(d) {
			err := r.t.fs.Remove(d)
			if notEmpty(err) || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return err
			}
			r.t.debts.name(path.Dir(d))
		}
	}
	return nil
}
