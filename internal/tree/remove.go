package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Removal takes files out of A, by new names or for good. Nothing of it is
// durable before Sync. It is used by one goroutine, which is the one that puts files.
type Removal struct {
	t     *Tree
	stamp int64
	dirs  map[string]struct{}
	files int
}

// NewRemoval begins to remove. Files get the name NAME-STAMP-deleted, STAMP being
// seconds since 1970, or with a stamp of 0 they are unlinked.
func (t *Tree) NewRemoval(stamp int64) *Removal {
	return &Removal{t: t, stamp: stamp, dirs: make(map[string]struct{})}
}

// Deleted returns the name, relative to HOME, of a file of A that was put aside.
func (t *Tree) Deleted(n layout.Name, stamp int64) string {
	return fmt.Sprintf("%s-%d-deleted", t.Path(A, n), stamp)
}

// Remove removes a file and returns its size. It is no error if it is not there;
// then removed is false.
func (r *Removal) Remove(n layout.Name) (size int64, removed bool, err error) {
	name := r.t.Path(A, n)
	info, err := r.t.fs.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if r.stamp == 0 {
		err = r.t.fs.Remove(name)
	} else {
		err = r.t.fs.Rename(name, r.t.Deleted(n, r.stamp))
	}
	if err != nil {
		return 0, false, err
	}
	r.dirs[path.Dir(name)] = struct{}{}
	r.files++
	return info.Size, true, nil
}

// Unlink removes a file that was put aside, name relative to HOME.
func (r *Removal) Unlink(name string) error {
	if err := r.t.fs.Remove(name); err != nil {
		return err
	}
	r.dirs[path.Dir(name)] = struct{}{}
	r.files++
	return nil
}

// Sync makes durable what was removed so far. Directories that became empty are
// removed too.
func (r *Removal) Sync() error {
	if len(r.dirs) == 0 {
		return nil
	}
	err := r.removeEmpty()
	if err == nil {
		err = r.sync()
	}
	clear(r.dirs)
	r.files = 0
	return err
}

func (r *Removal) sync() error {
	if !r.t.o.Sync || !r.t.o.DirSync {
		return nil
	}
	if r.files >= r.t.o.SyncAllFrom {
		if err := r.t.fs.SyncAll(); !errors.Is(err, vfs.ErrNotSupported) {
			return err
		}
	}
	return r.t.syncDirs(r.dirs)
}

// removeEmpty removes directories that have nothing in them any more, and then
// those above them.
func (r *Removal) removeEmpty() error {
	above := make(map[string]struct{})
	for dir := range r.dirs {
		for d := dir; d != string(A) && d != "."; d = path.Dir(d) {
			err := r.t.fs.Remove(d)
			if notEmpty(err) || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return err
			}
			above[path.Dir(d)] = struct{}{}
		}
	}
	for d := range above {
		r.dirs[d] = struct{}{}
	}
	return nil
}

// BringBack gives a file of A that was put aside its name again, with a time
// stamp that no earlier snapshot can have seen. It reports false, and changes
// nothing, if there is a file of that name.
func (b *Batch) BringBack(n layout.Name, from string) (bool, error) {
	name := b.t.Path(A, n)
	if _, err := b.t.fs.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	err := b.t.fs.SetModTime(from, b.t.o.Clock())
	if err == nil {
		err = b.t.stamp(from, b.t.o.Clock())
	}
	if err == nil {
		err = b.t.fs.Rename(from, name)
	}
	if err != nil {
		return false, err
	}
	b.put(name)
	return true, nil
}
