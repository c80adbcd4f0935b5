package classic

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// lanesFrom is from how many files on a Put has more than one goroutine.
const lanesFrom = 200

// syncEvery is the number of files after which a Put syncs the files written so far. All of a
// large batch at once keeps the disk busy for half a second, and commits wait behind that.
// Unsynced files take memory, too, here and in the kernel.
const syncEvery = 4000

// partLen is how many revisions of a transaction a lane puts at a time.
const partLen = 250

// putting is one Put. Nothing of it grows with the revisions of a transaction but parts, and
// with a batch of several transactions newest.
type putting struct {
	t      *Store
	batch  []store.Transaction
	p      *store.Progress
	lanes  int
	parts  []part
	newest map[zodb.OID]lastOf // nil: the batch is one transaction
}

// part is a part of a transaction that one lane puts.
type part struct {
	txn      uint32 // in the batch
	from     uint32 // its first revision
	pointers uint32 // how many pointers are written for it
}

// lastOf tells which transaction of a batch was the last one that stored an object.
type lastOf struct {
	txn   uint32
	fresh bool // the object had no revision before the batch
}

// Put implements [store.Writer]. If an object has several revisions, only the last pointer
// is written. The pointers come when all revisions are there, and the pointer of a new
// object has no earlier one to replace: so a reader that finds a pointer finds the
// revision that it names.
func (t *Store) Put(side store.Side, batch []store.Transaction, p *store.Progress) error {
	w := putting{t: t, batch: batch, p: p, lanes: 1}
	files, work, pointers := w.measure()
	if files >= t.o.LanesFrom {
		w.lanes = t.o.Lanes
	}
	b := t.NewRedo(side, files)
	// Syncing takes about a fifth of the time.
	p.Expect(int64(work+pointers) * 5 / 4)
	if err := w.inPieces(b, w.workOf, w.putRevisions); err != nil {
		return err
	}
	if !t.o.Minimal {
		if err := w.inPieces(b, func(p part) int { return int(p.pointers) }, w.putPointers); err != nil {
			return err
		}
	}
	if err := b.HighestOID(record.AppendX(nil, uint64(batch[len(batch)-1].HighestOID()))); err != nil {
		return err
	}
	return b.Sync()
}

// measure divides the batch into parts. files is how many files are written at
// most, work how many transactions and revisions there are.
func (w *putting) measure() (files, work, pointers int) {
	if len(w.batch) > 1 {
		w.newest = make(map[zodb.OID]lastOf)
	}
	for txn, c := range w.batch {
		n := c.Len()
		work += 1 + n
		files += 3 + 2*n
		for i := range n {
			r := c.Revision(i)
			if r.Blob != "" {
				files++
			}
			if w.newest != nil {
				before, again := w.newest[r.OID]
				w.newest[r.OID] = lastOf{uint32(txn), before.fresh || !again && r.First}
			}
		}
		for from := 0; from == 0 || from < n; from += w.t.o.PartLen {
			w.parts = append(w.parts, part{txn: uint32(txn), from: uint32(from)})
		}
	}
	for i := range w.parts {
		p := &w.parts[i]
		c, to := w.batch[p.txn], w.end(*p)
		for i := int(p.from); i < to; i++ {
			if last, _ := w.isNewest(*p, c.Revision(i)); last {
				p.pointers++
			}
		}
		pointers += int(p.pointers)
	}
	return files, work, pointers
}

// end is behind the last revision of a part.
func (w *putting) end(p part) int { return min(int(p.from)+w.t.o.PartLen, w.batch[p.txn].Len()) }

// workOf is how many revisions and transactions a part has.
func (w *putting) workOf(p part) int {
	n := w.end(p) - int(p.from)
	if w.isLast(p) {
		n++
	}
	return n
}

// isLast reports whether a part is the last one of its transaction.
func (w *putting) isLast(p part) bool { return w.end(p) == w.batch[p.txn].Len() }

// isNewest reports whether a revision is the last one that the batch has of its object, and
// whether the object had none before the batch.
func (w *putting) isNewest(p part, r store.Revision) (last, fresh bool) {
	if w.newest == nil {
		return true, r.First
	}
	n := w.newest[r.OID]
	return n.txn == p.txn, n.fresh
}

// putRevisions writes the revisions and blobs of a part, and with the last part of a transaction its file.
func (w *putting) putRevisions(b *Redo, buf []byte, p part) ([]byte, error) {
	defer w.p.Add(int64(w.workOf(p)))
	c, to := w.batch[p.txn], w.end(p)
	tid := c.TID()
	b.tid = tid
	var err error
	for i := int(p.from); i < to; i++ {
		r := c.Revision(i)
		if last, _ := w.isNewest(p, r); w.t.o.Minimal && !last {
			continue // class Minimal keeps the last one only
		}
		if buf, err = c.AppendRevision(buf[:0], i); err != nil {
			return buf, err
		}
		if w.t.o.Minimal {
			if err := b.Replace(layout.Object(r.OID), buf); err != nil {
				return buf, err
			}
			continue
		}
		if err := b.Create(layout.Revision(r.OID, tid), buf); err != nil {
			return buf, err
		}
		if r.Blob != "" {
			if err := b.Adopt(layout.Blob(r.OID, tid), r.Blob, r.BlobSize); err != nil {
				return buf, err
			}
		}
	}
	if w.t.o.Minimal || !w.isLast(p) {
		return buf, nil
	}
	if buf, err = c.AppendTransaction(buf[:0]); err != nil {
		return buf, err
	}
	return buf, b.Create(layout.Transaction(tid), buf)
}

// putPointers writes the pointers of a part.
func (w *putting) putPointers(b *Redo, buf []byte, p part) ([]byte, error) {
	c, to := w.batch[p.txn], w.end(p)
	b.tid = c.TID()
	buf = record.AppendPointer(buf[:0], b.tid)
	for i := int(p.from); i < to; i++ {
		r := c.Revision(i)
		last, fresh := w.isNewest(p, r)
		if !last {
			continue
		}
		put := b.Replace
		if fresh {
			put = b.Create
		}
		if err := put(layout.Pointer(r.OID), buf); err != nil {
			return buf, err
		}
		w.p.Add(1)
	}
	return buf, nil
}

// inPieces calls put for all parts, with a sync whenever SyncEvery files were put, but not after
// the last ones. files is about how many it puts for a part.
func (w *putting) inPieces(b *Redo, files func(part) int, put func(b *Redo, buf []byte, p part) ([]byte, error)) error {
	for from, to, first := 0, 0, true; ; from, first = to, false {
		for sum := 0; to < len(w.parts) && sum < w.t.o.SyncEvery; to++ {
			sum += files(w.parts[to])
		}
		if from == to {
			return nil
		}
		if !first {
			if err := b.Sync(); err != nil {
				return err
			}
		}
		err := inLanes(b, w.lanes, to-from, func(b *Redo, buf []byte, i int) ([]byte, error) {
			return put(b, buf, w.parts[from+i])
		})
		if err != nil {
			return err
		}
	}
}

// inLanes calls put for 0..n-1, from as many goroutines as lanes, each of which has its
// lane of the batch and a buffer. It returns when all are done, with their errors.
func inLanes(b *Redo, lanes, n int, put func(b *Redo, buf []byte, i int) ([]byte, error)) error {
	var next atomic.Int64
	run := func(b *Redo) (err error) {
		var buf []byte
		for err == nil {
			i := int(next.Add(1)) - 1
			if i >= n {
				break
			}
			if buf, err = put(b, buf, i); err != nil {
				next.Store(int64(n)) // the others may stop too
			}
		}
		return err
	}
	if lanes == 1 {
		return run(b)
	}
	errs := make([]error, lanes)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = run(b.Lane(i)) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// SumKind implements [store.Writer]: the Python original reads these homes.
func (t *Store) SumKind() record.SumKind { return record.MD5 }
