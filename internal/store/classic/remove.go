package classic

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
)

// Removal takes files out of A, by new names or for good. It is used by one goroutine, which is the
// one that puts files, and nobody puts any between Remove and Sync. It may be repeated after an error
// or a crash.
//
// A file that is put aside keeps its old name until Sync has made the new one durable: a power cut may
// keep neither name of a rename. So it is durable with the next Sync of the tree that it has lost the
// old name. A file that is removed for good has lost its name at once, durably with Sync.
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
		r.t.debts.forgetMoves() // a flush may put a pointer of such a name before the next attempt
		return 0, false, err
	}
	if r.stamp == 0 {
		err = r.t.fs.Remove(name)
	} else {
		err = r.t.move(asideFile, name, r.t.Deleted(n, r.stamp))
	}
	if err != nil {
		r.t.debts.name(dirOf(name)) // it may be done all the same, and then nobody does it again
		r.t.debts.forgetMoves()
		return 0, false, err
	}
	if r.stamp == 0 {
		r.removed(name)
	}
	return info.Size, true, nil
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

// Sync makes the removals so far durable, takes away the old names of files that are put aside, and pays
// all that the tree owes. Directories that became empty are removed too.
func (r *Removal) Sync() error {
	err := r.removeEmpty()
	clear(r.dirs)
	if err != nil {
		r.t.debts.forgetMoves()
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
