package packing

import (
	"context"
	"iter"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// stepFiles is about how many files one step removes.
const stepFiles = 500

// sweep is the part of a pack that removes what the plan says. Each of its steps
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
}

// stamp is that of the names of files that are put aside; 0: they are unlinked.
func (w *sweep) stamp() int64 {
	if w.s.o.Settings.Storage.DelayDelete == 0 {
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
	return w.transactions(ctx)
}

// markPacked sets x.packed, before anything is removed that it has to explain.
func (w *sweep) markPacked() (bool, error) {
	if w.h.Threshold <= w.s.o.Host.Packed() {
		return true, nil
	}
	if err := w.s.o.Store.SetMark(store.A, layout.XPacked, record.AppendX(nil, uint64(w.h.Threshold))); err != nil {
		return false, err
	}
	w.s.o.Host.SetPacked(w.h.Threshold)
	return true, nil
}

// objects removes what the plan lists.
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

// removeEntries removes what goes of some objects: first the pointers of those
// that go altogether, then the revisions, then the blobs, each durably before the
// next. So a crash never leaves a file that names one that is gone.
func (w *sweep) removeEntries(batch []pack.Entry) error {
	w.v.batch.Lock()
	defer w.v.batch.Unlock()
	r := w.s.o.Store.NewRemoval(w.stamp())
	var n zodb.Counts
	var oids []zodb.OID
	kept := batch[:0]
	for _, e := range batch {
		w.p.done.Add(1)
		if e.Whole {
			if !w.v.goes(e.OID) {
				continue
			}
			oids = append(oids, e.OID)
		}
		kept = append(kept, e)
	}
	w.s.o.State.ForgetCached(oids...)
	for _, oid := range oids {
		w.s.o.Host.ForgetKnown(oid)
		_, removed, err := r.Remove(layout.Pointer(oid))
		if err != nil {
			return err
		}
		if removed {
			n.Objects++
		}
	}
	if err := r.Sync(); err != nil {
		return err
	}
	if err := w.removeFiles(r, kept, layout.Revision, func(size int64) {
		n.Revisions++
		n.Bytes += size
	}); err != nil {
		return err
	}
	if err := w.removeFiles(r, kept, layout.Blob, func(size int64) {
		w.result.Blobs++
		n.Bytes += size
		n.BlobBytes += size
	}); err != nil {
		return err
	}
	w.s.o.State.ForgetCached(oids...) // what was read meanwhile
	return w.removed(n)
}

// removeFiles removes files of one kind, durably, and tells the size of each that was there.
func (w *sweep) removeFiles(r *classic.Removal, batch []pack.Entry, name func(zodb.OID, zodb.TID) layout.Name, removed func(size int64)) error {
	for _, e := range batch {
		for _, tid := range e.TIDs {
			size, there, err := r.Remove(name(e.OID, tid))
			if err != nil {
				return err
			}
			if there {
				removed(size)
			}
		}
	}
	return r.Sync()
}

// removed takes what was removed out of the counts.
func (w *sweep) removed(n zodb.Counts) error {
	s := w.s
	add(w.result, n)
	s.o.Host.Recount(n, -1)
	return nil
}
