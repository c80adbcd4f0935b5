package dirstorage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/tree"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// chore is work on A that the worker does in small steps between its own: no
// flush, no entering of snapshot mode and no recombination is under way during a
// step, and A is a coherent snapshot before and after each.
type chore struct {
	step func() (done bool, err error)
	done chan struct{}
	err  error

	// Guarded by Storage.mu:
	running, cancelled bool
}

// inWorker has the worker call step until it is done or fails, or until ctx ends.
// In snapshot mode, and while B is moved into A, it waits.
func (s *Storage) inWorker(ctx context.Context, step func() (done bool, err error)) error {
	c := &chore{step: step, done: make(chan struct{})}
	s.mu.Lock()
	if err := s.writable(); err != nil {
		s.mu.Unlock()
		return err
	}
	s.worker.chore = c
	s.mu.Unlock()
	if waiting := s.choreWaits(); waiting != "" {
		s.log.Warn("a pack waits", "for", waiting)
	}
	s.worker.wake()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	c.cancelled = true
	if s.worker.chore == c && !c.running {
		s.worker.endChore(errStopped)
	}
	s.mu.Unlock()
	<-c.done
	if errors.Is(c.err, errStopped) {
		return context.Cause(ctx)
	}
	return c.err // nil if it came to its end all the same
}

// endChore ends the chore that there is, if any. Storage.mu must be held.
func (w *worker) endChore(err error) {
	if c := w.chore; c != nil {
		w.chore = nil
		c.err = err
		close(c.done)
	}
}

// doChore does one step. Its errors are those of the chore, not of the storage.
func (w *worker) doChore(s *Storage) {
	s.mu.Lock()
	c := w.chore
	if c == nil {
		s.mu.Unlock()
		return
	}
	c.running = true
	s.mu.Unlock()
	err := s.checkHome()
	done := false
	if err == nil {
		done, err = c.step()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.running = false
	switch {
	case done || err != nil:
		w.endChore(err)
	case c.cancelled:
		w.endChore(errStopped)
	}
}

// stepFiles is about how many files one step removes.
const stepFiles = 500

// sweep is the part of a pack that removes what the plan says. Each of its steps
// may be repeated, so after a crash it is done from the beginning.
type sweep struct {
	s       *Storage
	v       *verdict
	h       pack.Header
	p       *packProgress
	result  *PackResult
	resumed bool // it was begun before
}

// stamp is that of the names of files that are put aside; 0: they are unlinked.
func (w *sweep) stamp() int64 {
	if w.s.settings.Storage.DelayDelete == 0 {
		return 0
	}
	return w.h.Stamp
}

// run does everything, and ends the verdict. If there is an error it may be called
// again, as long as the verdict is not over.
func (w *sweep) run(ctx context.Context) error {
	if w.v.is() < packIsEnding {
		w.v.to(packSweeps)
		if err := w.steps(ctx); err != nil {
			return withDiskFull(err)
		}
	}
	return withDiskFull(w.v.end())
}

func (w *sweep) steps(ctx context.Context) error {
	if err := w.s.inWorker(ctx, w.markPacked); err != nil {
		return err
	}
	if err := w.objects(ctx); err != nil {
		return err
	}
	return w.transactions(ctx)
}

// markPacked sets x.packed, before anything is removed that it has to explain.
func (w *sweep) markPacked() (bool, error) {
	if w.h.Threshold <= w.s.packed() {
		return true, nil
	}
	if err := w.s.tree.Mark(tree.A, layout.XPacked, record.AppendX(nil, uint64(w.h.Threshold))); err != nil {
		return false, err
	}
	w.s.packedTo.Store(uint64(w.h.Threshold))
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
	return w.s.inWorker(ctx, func() (bool, error) {
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
	r := w.s.tree.NewRemoval(w.stamp())
	var n Counts
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
	w.s.forget(oids...)
	for _, oid := range oids {
		w.s.known.remove(oid)
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
	w.s.forget(oids...) // what was read meanwhile
	return w.removed(n)
}

// removeFiles removes files of one kind, durably, and tells the size of each that was there.
func (w *sweep) removeFiles(r *tree.Removal, batch []pack.Entry, name func(zodb.OID, zodb.TID) layout.Name, removed func(size int64)) error {
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
func (w *sweep) removed(n Counts) error {
	s := w.s
	w.result.add(n)
	s.countsMu.Lock()
	defer s.countsMu.Unlock()
	s.mu.Lock()
	s.counts.combine(n, -1)
	counts, flushed := s.counts, s.flushed
	s.mu.Unlock()
	s.saveCounts(counts, flushed)
	return nil
}

// chainStep is how many transactions one step looks at, and maxRun how many are
// removed at most before the chain is linked past them.
const (
	chainStep = 500
	maxRun    = 1000
)

// chainSweep removes transactions of which nothing is left. Those that stay are
// linked past them first, durably.
type chainSweep struct {
	*sweep
	kept zodb.TID   // the last one that stays
	next zodb.TID   // to be looked at
	run  []zodb.TID // between them: these go
	end  bool       // there are no older ones

	links []link     // of this step
	gone  []zodb.TID // removed by this step
}

// link says that a transaction shall name another one as the one before.
type link struct{ tid, previous zodb.TID }

func (w *sweep) transactions(ctx context.Context) error {
	if w.h.Oldest == 0 {
		return nil
	}
	w.p.phase("removing transactions", 0)
	t, err := w.s.transactionFile(w.h.Oldest)
	if err != nil {
		return err
	}
	c := &chainSweep{sweep: w, kept: w.h.Oldest, next: t.Previous}
	if err := w.s.inWorker(ctx, c.step); err != nil {
		return err
	}
	if !w.resumed {
		return nil
	}
	// A crash may have come after the links and before the removal: then nothing
	// leads to them any more.
	return w.strays(ctx)
}

// step looks at some transactions, and removes those that go.
func (c *chainSweep) step() (done bool, err error) {
	c.links, c.gone = c.links[:0], c.gone[:0]
	for n := 0; n < chainStep && len(c.gone) < stepFiles && !c.end; n++ {
		if err := c.look(); err != nil {
			return false, err
		}
	}
	if err := c.s.relink(c.links); err != nil {
		return false, err
	}
	return c.end, c.remove(c.gone)
}

// look decides about one transaction.
func (c *chainSweep) look() error {
	t, err := c.s.transactionFile(c.next)
	if c.next == 0 || errors.Is(err, zodb.ErrNotFound) {
		// Nothing older stays, so the last that does goes on naming what is gone.
		c.end = true
		c.gone = append(c.gone, c.run...)
		return nil
	}
	if err != nil {
		return err
	}
	c.p.done.Add(1)
	stays, err := c.stays(t)
	if err != nil {
		return err
	}
	c.next = t.Previous
	if !stays {
		if c.run = append(c.run, t.TID); len(c.run) == maxRun && c.next != 0 {
			c.pass(c.next)
		}
		return nil
	}
	if len(c.run) > 0 {
		c.pass(t.TID)
	}
	c.kept = t.TID
	return nil
}

// pass notes that what is in the run goes, and that the chain goes on with previous.
func (c *chainSweep) pass(previous zodb.TID) {
	c.links = append(c.links, link{c.kept, previous})
	c.gone = append(c.gone, c.run...)
	c.run = c.run[:0]
}

// stays reports whether a transaction stays that is older than the pack time.
func (w *sweep) stays(t *record.Transaction) (bool, error) {
	if w.h.Undoable {
		return false, nil
	}
	if len(t.OIDs) == 0 && string(t.Description) == beginningAnew {
		return true, nil // without it, what is before would be history that clients can name
	}
	return w.s.hasRevisions(t)
}

// hasRevisions reports whether something is left in A of what a transaction wrote.
func (s *Storage) hasRevisions(t *record.Transaction) (bool, error) {
	for _, oid := range t.OIDs {
		_, err := s.fs.Stat(s.tree.Path(tree.A, layout.Revision(oid, t.TID)))
		if !errors.Is(err, fs.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

// relink puts transaction files in place of themselves that name other
// transactions as the ones before, durably.
func (s *Storage) relink(links []link) error {
	if len(links) == 0 {
		return nil
	}
	edit := s.tree.NewEdit(tree.A)
	for _, l := range links {
		data, where, err := s.tree.Get(layout.Transaction(l.tid))
		if err != nil {
			return err
		}
		t, err := record.ParseTransactionAs(data, where, l.tid, true)
		if err != nil {
			return err
		}
		if t.Previous == l.previous {
			edit.Right(layout.Transaction(l.tid))
			continue
		}
		t.Previous = l.previous
		b, err := t.Append(nil, record.HasMD5(data))
		if err != nil {
			return err
		}
		if err := edit.Replace(layout.Transaction(l.tid), b); err != nil {
			return err
		}
	}
	return edit.Sync()
}

// remove removes transactions, those of the chain the newest first: see [Storage.olderThan].
func (w *sweep) remove(tids []zodb.TID) error {
	if len(tids) == 0 {
		return nil
	}
	r := w.s.tree.NewRemoval(w.stamp())
	var n Counts
	for _, tid := range tids {
		size, removed, err := r.Remove(layout.Transaction(tid))
		if err != nil {
			return err
		}
		if removed {
			n.Transactions++
			n.Bytes += size
		}
	}
	if err := r.Sync(); err != nil {
		return err
	}
	return w.removed(n)
}

// strays removes the transactions that do not stay, whether something leads to them
// or not.
func (w *sweep) strays(ctx context.Context) error {
	var werr error
	next, stop := iter.Pull(func(yield func(zodb.TID) bool) {
		for name, err := range vfs.Walk(w.s.fs, "A") {
			if err != nil {
				werr = err
				return
			}
			n, ok := w.s.tree.Format().Parse(name[2:])
			if ok && n.Kind == layout.KindTransaction && n.TID < w.h.Oldest && !yield(n.TID) {
				return
			}
		}
	})
	defer stop()
	err := w.s.inWorker(ctx, func() (bool, error) {
		var tids []zodb.TID
		for range chainStep {
			tid, ok := next()
			if !ok {
				return true, w.remove(tids)
			}
			t, err := w.s.transactionFile(tid)
			if errors.Is(err, zodb.ErrNotFound) {
				continue
			}
			if err != nil {
				return false, err
			}
			stays, err := w.stays(t)
			if err != nil {
				return false, err
			}
			if !stays {
				tids = append(tids, tid)
			}
		}
		return false, w.remove(tids)
	})
	return errors.Join(err, werr)
}

// transactionFile reads the file of a transaction; the error matches
// zodb.ErrNotFound if there is none.
func (s *Storage) transactionFile(tid zodb.TID) (*record.Transaction, error) {
	b, where, err := s.tree.Get(layout.Transaction(tid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no transaction %s: %w", tid, zodb.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return record.ParseTransactionAs(b, where, tid, true)
}

// deletedFiles yields the files of A that a pack put aside, by their names
// relative to HOME.
func (s *Storage) deletedFiles(yield func(name string, n layout.Name, stamp int64) error) error {
	for name, err := range vfs.Walk(s.fs, "A") {
		if err != nil {
			return err
		}
		if !strings.HasSuffix(name, "-deleted") {
			continue
		}
		if n, stamp, ok := s.tree.Format().ParseDeleted(name[2:]); ok {
			if err := yield(name, n, stamp); err != nil {
				return err
			}
		}
	}
	return nil
}

// purge removes for good what earlier packs put aside, if delay_delete has passed.
func (s *Storage) purge(ctx context.Context, before int64, p *packProgress) (files int64, err error) {
	p.phase("removing deleted files", 0)
	var walked error // set when the walk ends, also by stop
	next, stop := iter.Pull(func(yield func(string) bool) {
		walked = s.deletedFiles(func(name string, _ layout.Name, stamp int64) error {
			if stamp < before && !yield(name) {
				return errStopped
			}
			return nil
		})
	})
	defer stop()
	err = s.inWorker(ctx, func() (bool, error) {
		r := s.tree.NewRemoval(0)
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
