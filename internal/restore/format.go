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
//
// Beside the target, the HOME that is whole gets a name of its own first, then all else is removed, and
// then it gets that of the target. So a kill behind that leaves no other HOME.

// madeDir is the directory, in the one in which the HOME of the backups grows, of the one that is
// made of it.
const madeDir = "converted"

// wholeSuffix is the end of the name beside the target.
const wholeSuffix = ".restoring.whole"

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
		return &fullError{err}
	}
	return err
}

// publishMade gives the HOME that was made its name. An error matches errAgain: the next restore of the
// plan goes on.
func (r *run) publishMade() error {
	p, whole := r.o.Parent, r.o.Name+wholeSuffix
	err := p.Rename(r.grown(), whole)
	if err == nil {
		err = p.SyncDir(".")
	}
	if err == nil {
		err = r.nameWhole()
	}
	if err != nil {
		return fmt.Errorf("%w; %w", err, errAgain)
	}
	return nil
}

// nameWhole removes all but the HOME that is whole, and gives this the name of the target.
func (r *run) nameWhole() error {
	if err := r.discard(); err != nil {
		return err
	}
	return r.o.Parent.Rename(r.o.Name+wholeSuffix, r.o.Name)
}

// resumeWhole goes on where a restore of the same plan was interrupted after its HOME was whole. It
// reports false if none was.
func (r *run) resumeWhole() (bool, error) {
	p := r.o.Parent
	if _, err := p.Stat(r.o.Name); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	s, err := readState(vfs.Sub(p, r.o.Name+wholeSuffix))
	if err != nil || !s.Done || !s.samePlan(r.state) {
		return false, nil
	}
	// The process that gave it this name may have been killed before that was durable.
	err = p.SyncDir(".")
	if err == nil {
		err = r.nameWhole()
	}
	if err == nil {
		_, err = r.finishOlder()
	}
	return true, err
}

// discardWhole removes the HOME of another plan that is whole and did not get its name.
func (r *run) discardWhole() error {
	p, whole := r.o.Parent, r.o.Name+wholeSuffix
	if _, err := readState(vfs.Sub(p, whole)); err != nil {
		return nil // no restore made it, or there is none
	}
	return removeHome(p, whole)
}

// published reads the HOME that has the name of the target.
func (r *run) published() error {
	r.home, r.copies = vfs.Sub(r.o.Parent, r.o.Name), formats.Copies(r.o.Format)
	return r.readTID()
}
