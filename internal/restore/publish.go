package restore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// markClosed says that the HOME was closed cleanly, and notes the time of the file that does. Each program that opens
// the HOME for writing removes that file.
func (r *run) markClosed() error {
	if !r.convert { // else it was closed cleanly
		if err := vfs.WriteFileAtomic(r.home, "misc/snapshot.new", snapfile.Name, []byte(snapfile.Shutdown), vfs.SyncOptions{File: true, Dir: true}); err != nil {
			return err
		}
	}
	info, err := r.home.Stat(snapfile.Name)
	if r.convert && errors.Is(err, fs.ErrNotExist) {
		return nil // it was left open
	}
	r.state.Closed = info.ModTime.UTC()
	return err
}

// publish gives the HOME its name. Everything is durable.
func (r *run) publish() error {
	p := r.o.Parent
	if err := r.stillLocked(); err != nil {
		return err
	}
	if err := r.handOn(); err != nil {
		return err
	}
	if r.inPlace {
		if err := r.moveIn(); err != nil {
			return err
		}
		_, err := r.finishOlder()
		return err
	}
	var err error
	switch {
	case r.convert:
		err = r.publishMade()
	case r.old == nil:
		err = p.Rename(r.work, r.o.Name)
	default:
		err = p.Exchange(r.work, r.o.Name)
		if errors.Is(err, vfs.ErrNotSupported) {
			err = r.replace()
		}
	}
	if err == nil {
		err = p.SyncDir(".")
	}
	if err != nil {
		return err
	}
	_, err = r.finishOlder()
	return err
}

// undoReplace gives the old copy its name back, if a replace was interrupted.
func (r *run) undoReplace() error {
	p := r.o.Parent
	_, err := p.Stat(r.o.Name)
	_, err2 := p.Stat(r.o.Name + replacedSuffix)
	if !errors.Is(err, fs.ErrNotExist) || err2 != nil {
		return nil
	}
	if s, err := readState(r.home); err != nil || !s.Replaces {
		return nil // it is not ours
	}
	return p.Rename(r.o.Name+replacedSuffix, r.o.Name)
}

// endReplace does the last step of a replace that was interrupted before it. Without one, a directory of that
// name is somebody else's.
func (r *run) endReplace(s state) error {
	if !s.Replaces {
		return nil
	}
	p := r.o.Parent
	if _, err := p.Stat(r.work); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := p.Rename(r.o.Name+replacedSuffix, r.work); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return p.SyncDir(".")
}

const replacedSuffix = ".replaced"

// replace is for file systems that can't exchange names: for a moment there is
// none, and a restore that is interrupted then has to be run again.
func (r *run) replace() error {
	p := r.o.Parent
	aside := r.o.Name + replacedSuffix
	if _, err := p.Stat(aside); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, fmt.Errorf("%s is in the way: move it away", p.Path(aside)))
	}
	r.state.Replaces = true
	if err := r.save(); err != nil {
		return err
	}
	if err := p.Rename(r.o.Name, aside); err != nil {
		return err
	}
	if err := p.Rename(r.work, r.o.Name); err != nil {
		return errors.Join(err, p.Rename(aside, r.o.Name))
	}
	return p.Rename(aside, r.work)
}

// finishOlder completes a restore that was interrupted when the new HOME had its
// name already. It reports whether that was one of the same plan, and nobody has written to the HOME since.
func (r *run) finishOlder() (same bool, err error) {
	s, err := readState(vfs.Sub(r.o.Parent, r.o.Name))
	if err != nil || !s.Done {
		return false, nil // there is nothing to finish
	}
	// The process that gave it its name, or its config that of its own, may have been killed before that was durable.
	if err := errors.Join(r.o.Parent.SyncDir("."), r.o.Parent.SyncDir(r.o.Name)); err != nil {
		return false, err
	}
	if !r.inPlace {
		if err := r.endReplace(s); err != nil {
			return false, err
		}
	}
	if err := r.discard(); err != nil {
		return false, err
	}
	return s.samePlan(r.state) && r.unused(s), errors.Join(r.o.Parent.Remove(path.Join(r.o.Name, stateFile)), r.o.Parent.SyncDir(path.Join(r.o.Name, "misc")))
}

// unused reports whether the HOME that has the name of the target is as it was restored: nobody has opened it for
// writing, which a pack or an undelete does, too, and nothing was salvaged into it. A state without a TID or
// without the time of the close is of an earlier build.
func (r *run) unused(s state) bool {
	home := vfs.Sub(r.o.Parent, r.o.Name)
	for _, err := range vfs.Walk(home, "journal") {
		return errors.Is(err, fs.ErrNotExist) // else there is a log
	}
	handedOn := ""
	if !r.convert {
		handedOn = r.o.Plan.Chain[len(r.o.Plan.Chain)-1].Undeleted
	}
	if u, err := pack.ReadUndeleted(home); err != nil || u.ID() != handedOn {
		return false
	}
	if info, err := home.Stat(snapfile.Name); !s.Closed.IsZero() && (err != nil || !info.ModTime.Equal(s.Closed)) {
		return false
	}
	last, err := formats.Copies(r.o.Format).Last(home, store.A)
	return err == nil && (s.TID == 0 || last == s.TID)
}
