package packing

import (
	"context"
	"iter"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// stepFiles is about how many files one step removes.
const stepFiles = 500

// sweep is the part of a pack that carries out the plan. Each of its steps
// may be repeated, so after a crash it is done from the beginning.
type sweep struct {
	s       *Packer
	v       *plan
	h       pack.Header
	p       *progress
	result  *zodb.PackResult
	resumed bool // it was begun before
	// early is how many transactions there were before a tid when the pack was planned.
	before zodb.TID
	early  int64

	took zodb.Counts // the removals of this process
}

// stamp is that of the names of files that are put aside; 0: they are unlinked.
func (w *sweep) stamp() int64 {
	if w.s.o.Home.Settings.Storage.DelayDelete == 0 {
		return 0
	}
	return w.h.Stamp
}

// run does everything, and ends the plan. If there is an error it may be called
// again, as long as the plan is not over.
func (w *sweep) run(ctx context.Context) error {
	if w.v.is() < packIsEnding {
		w.v.to(packSweeps)
		if err := w.steps(ctx); err != nil {
			return vfs.WithFull(err)
		}
	}
	return vfs.WithFull(w.v.end())
}

func (w *sweep) steps(ctx context.Context) error {
	if err := w.s.o.State.RunTask(ctx, w.markPacked); err != nil {
		return err
	}
	if err := w.objects(ctx); err != nil {
		return err
	}
	if err := w.transactions(ctx); err != nil {
		return err
	}
	// Before that a crash may undo removals, and the plan has to be there.
	return w.s.o.State.RunTask(ctx, func() (bool, error) { return true, w.s.o.Store.Sync() })
}

// markPacked sets x.packed, before anything is removed that it has to explain.
func (w *sweep) markPacked() (bool, error) {
	if w.h.Threshold <= w.s.o.Read.Packed() {
		return true, nil
	}
	if err := w.s.o.Store.SetPacked(w.h.Threshold); err != nil {
		return false, err
	}
	w.s.o.Read.SetPacked(w.h.Threshold)
	return true, nil
}

// objects removes the entries of the plan.
func (w *sweep) objects(ctx context.Context) error {
	f, err := w.v.files.Plan()
	if err != nil {
		return err
	}
	defer f.Close()
	_, entries, err := pack.Read(f)
	if err != nil {
		return err
	}
	next, stop := iter.Pull2(entries)
	defer stop()
	w.p.phase("removing objects", w.p.planned.Load())
	return w.s.o.State.RunTask(ctx, func() (bool, error) {
		var batch []pack.Entry
		files, done := 0, false
		for files < stepFiles {
			e, err, ok := next()
			if !ok {
				done = true
				break
			}
			if err != nil {
				return false, err
			}
			e.TIDs = append([]zodb.TID(nil), e.TIDs...)
			batch = append(batch, e)
			files += 1 + len(e.TIDs)
		}
		return done, w.removeEntries(batch)
	})
}

// removeEntries removes the victims among some objects: whole objects that are not
// spared, and old revisions.
func (w *sweep) removeEntries(batch []pack.Entry) error {
	w.v.batch.Lock()
	defer w.v.batch.Unlock()
	var what store.Removal
	for _, e := range batch {
		w.p.done.Add(1)
		if e.Whole {
			if !w.v.goes(e.OID) {
				continue
			}
			what.Objects = append(what.Objects, e.OID)
		}
		what.Revisions = append(what.Revisions, store.Revisions{OID: e.OID, TIDs: e.TIDs})
	}
	w.s.o.State.ForgetCached(what.Objects...)
	for _, oid := range what.Objects {
		w.s.o.Read.Deleted(oid)
	}
	n, err := w.s.o.Store.Remove(w.stamp(), what)
	w.result.Blobs += n.Blobs
	if err != nil {
		return err
	}
	w.s.o.State.ForgetCached(what.Objects...) // revisions that were read meanwhile
	return w.removed(state.CountsOf(n))
}

// removed takes the removals out of the counts.
func (w *sweep) removed(n zodb.Counts) error {
	s := w.s
	add(w.result, n)
	state.Combine(&w.took, n, 1)
	s.o.Counter.Recount(n, -1)
	return nil
}
