package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Backups of one format are restored into another one in two steps: the HOME of the backups is made
// and checked as ever; then one of the other format is made of it, within its directory, compared with
// it, and checked. This one gets the name. An interrupted restore has the first step behind it or
// goes on within it; the second one begins anew.

// madeDir is the directory, in the one in which the HOME of the backups grows, of the one that is
// made of it.
const madeDir = "converted"

// grown returns the name in Parent of the HOME that gets the name of the target.
func (r *run) grown() string {
	if r.convert {
		return path.Join(r.work, madeDir)
	}
	return r.work
}

// intoFormat makes a HOME of another format of the one that was restored.
func (r *run) intoFormat(ctx context.Context) error {
	if !r.state.Restored {
		r.state.Restored = true
		if err := r.checkpoint(); err != nil {
			return err
		}
	}
	made := vfs.Sub(r.o.Parent, r.grown())
	if s, err := readState(made); err != nil || !s.Done || !s.samePlan(r.state) {
		if err := r.makeAnew(ctx, made); err != nil {
			return err
		}
	}
	r.home, r.copies = made, formats.Copies(r.o.Format)
	if err := r.verify(ctx); err != nil {
		return err
	}
	if err := r.syncFiles(); err != nil {
		return err
	}
	return r.o.Parent.SyncDir(r.work) // its name there, where not everything can be synced at once
}

func (r *run) makeAnew(ctx context.Context, made vfs.FS) error {
	if err := vfs.RemoveAll(r.o.Parent, r.grown()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := r.o.Convert(ctx, r.home, made)
	if vfs.FaultOf(err) == vfs.FullFault || vfs.SaysFull(err) {
		return fmt.Errorf("%w; make room and %w", err, errAgain)
	}
	return err
}

// published reads the HOME that has the name of the target.
func (r *run) published() error {
	r.home, r.copies = vfs.Sub(r.o.Parent, r.o.Name), formats.Copies(r.o.Format)
	return r.readTID()
}
