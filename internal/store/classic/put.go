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

// pointerFile is a pointer that a flush writes.
type pointerFile struct {
	oid   zodb.OID
	tid   zodb.TID
	fresh bool // the object had none before
}

// lanesFrom is from how many files on a Put has more than one goroutine.
const lanesFrom = 200

// syncEvery is after how many files a Put syncs what it has written so far. All
// of a large batch at once keeps the disk busy for half a second, and commits wait behind that.
const syncEvery = 4000

// putting is one Put.
type putting struct {
	t        *Store
	batch    []store.Transaction
	p        *store.Progress
	lanes    int
	at       map[zodb.OID]int // in pointers
	pointers []pointerFile
}

// Put implements [store.Writer]. Of a number of revisions of an object, one pointer is
// written, the last. The pointers come when all revisions are there, and the pointer of a
// new object has no earlier one to replace: so whoever finds a pointer finds what it names.
func (t *Store) Put(side store.Side, batch []store.Transaction, p *store.Progress) error {
	w := putting{t: t, batch: batch, p: p, lanes: 1, at: make(map[zodb.OID]int)}
	files, work := w.measure()
	if files >= t.o.LanesFrom {
		w.lanes = t.o.Lanes
	}
	b := t.NewRedo(side, files)
	// Syncing takes about a fifth of the time.
	p.Expect(int64(work+len(w.pointers)) * 5 / 4)
	if err := inPieces(b, w.lanes, len(batch), 1+syncEvery*len(batch)/work, w.transaction); err != nil {
		return err
	}
	if !t.o.Minimal {
		if err := inPieces(b, w.lanes, len(w.pointers), syncEvery, w.pointer); err != nil {
			return err
		}
	}
	if err := b.HighestOID(record.AppendX(nil, uint64(batch[len(batch)-1].HighestOID()))); err != nil {
		return err
	}
	return b.Sync()
}

// SetLast implements [store.Writer].
func (t *Store) SetLast(side store.Side, tid zodb.TID) error {
	return t.SetMark(side, layout.XSerial, record.AppendX(nil, uint64(tid)))
}

// measure finds out which pointers there will be. files is how many files are written at
// most, work how many transactions and revisions there are.
func (w *putting) measure() (files, work int) {
	for _, c := range w.batch {
		tid, n := c.TID(), c.Len()
		work += 1 + n
		files += 3 + 2*n
		for i := range n {
			r := c.Revision(i)
			if r.Blob != "" {
				files++
			}
			at, again := w.at[r.OID]
			if !again {
				at = len(w.pointers)
				w.at[r.OID] = at
				w.pointers = append(w.pointers, pointerFile{oid: r.OID, fresh: r.First})
			}
			w.pointers[at].tid = tid
		}
	}
	return files, work
}

// transaction writes the revisions, the blobs and the file of a transaction.
func (w *putting) transaction(b *Redo, buf []byte, i int) ([]byte, error) {
	c := w.batch[i]
	tid, n := c.TID(), c.Len()
	defer w.p.Add(int64(1 + n))
	var err error
	for i := range n {
		r := c.Revision(i)
		if w.t.o.Minimal && w.pointers[w.at[r.OID]].tid != tid {
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
	if w.t.o.Minimal {
		return buf, nil
	}
	if buf, err = c.AppendTransaction(buf[:0]); err != nil {
		return buf, err
	}
	return buf, b.Create(layout.Transaction(tid), buf)
}

// pointer writes one pointer.
func (w *putting) pointer(b *Redo, buf []byte, i int) ([]byte, error) {
	p := w.pointers[i]
	put := b.Replace
	if p.fresh {
		put = b.Create
	}
	buf = record.AppendPointer(buf[:0], p.tid)
	w.p.Add(1)
	return buf, put(layout.Pointer(p.oid), buf)
}

// inPieces is inLanes, with a sync after each so many calls but the last ones.
func inPieces(b *Redo, lanes, n, piece int, put func(b *Redo, buf []byte, i int) ([]byte, error)) error {
	for from := 0; from < n; from += piece {
		if from > 0 {
			if err := b.Sync(); err != nil {
				return err
			}
		}
		err := inLanes(b, lanes, min(piece, n-from), func(b *Redo, buf []byte, i int) ([]byte, error) {
			return put(b, buf, from+i)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// inLanes calls put for 0..n-1, from so many goroutines, each of which has its
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
