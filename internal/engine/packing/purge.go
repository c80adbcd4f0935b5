package packing

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"strings"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// deletedFiles yields the files of A that a pack put aside, by their names
// relative to HOME.
func (s *Packer) deletedFiles(yield func(name string, n layout.Name, stamp int64) error) error {
	for name, err := range vfs.Walk(s.o.FS, "A") {
		if err != nil {
			return err
		}
		if !strings.HasSuffix(name, "-deleted") {
			continue
		}
		if n, stamp, ok := s.o.Store.Format().ParseDeleted(name[2:]); ok {
			if err := yield(name, n, stamp); err != nil {
				return err
			}
		}
	}
	return nil
}

// purge removes for good what earlier packs put aside, if delay_delete has passed.
func (s *Packer) purge(ctx context.Context, before int64, p *progress) (files int64, err error) {
	p.phase("removing deleted files", 0)
	var walked error // set when the walk ends, also by stop
	next, stop := iter.Pull(func(yield func(string) bool) {
		walked = s.deletedFiles(func(name string, _ layout.Name, stamp int64) error {
			if stamp < before && !yield(name) {
				return state.ErrStopped
			}
			return nil
		})
	})
	defer stop()
	err = s.o.State.RunTask(ctx, func() (bool, error) {
		r := s.o.Store.NewRemoval(0)
		for range stepFiles {
			name, ok := next()
			if !ok {
				return true, r.Sync()
			}
			if err := r.Unlink(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false, err
			}
			files++
			p.done.Add(1)
		}
		return false, r.Sync()
	})
	return files, errors.Join(err, walked)
}
