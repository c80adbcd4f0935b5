package engine

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/zodb"
)

// flush turns the oldest committed transactions, up to a tid and to the size of
// a batch, into files of A or B, and gives their place in the log back. It is
// called by the worker alone. When it fails nothing is lost: the transactions
// stay in the log and in the index, and the next flush does it all again.
//
// The order is what recovery relies on: first everything but x.serial, made
// durable; then x.serial, made durable; then the index forgets the
// transactions; then the log does. So x.serial never names a transaction that
// is not whole, and nobody reads a file that is not. From the moment that x.serial may
// have its name the rest of the batch is not touched any more: if only the mark
// failed, only that is repeated.
func (s *Storage) flush(upTo zodb.TID) error {
	batch := s.state.NextBatch(upTo)
	if n := s.worker.sealed; n > 0 { // there is only the mark to be put
		batch = s.state.Oldest(n)
	}
	if len(batch) == 0 {
		return nil
	}
	tight := false
	if s.worker.sealed == 0 {
		batch, tight = s.roomForBatch(batch)
	}
	side := s.state.BeginFlush(batch)
	defer s.state.EndFlush()
	if err := s.checkHome(); err != nil {
		return err
	}
	if err := s.payFloor(); err != nil {
		return err
	}
	files := 0
	for _, c := range batch {
		files += c.Files()
	}
	last := batch[len(batch)-1]
	begun := s.o.Clock()
	if s.worker.sealed == 0 {
		if err := s.flushFiles(batch, side, files); err != nil {
			return fmt.Errorf("flush up to %s into %s: %w", last.TID, side, err)
		}
	}
	s.worker.sealed = len(batch)
	s.countsMu.Lock()
	defer s.countsMu.Unlock()
	counts, _ := s.state.FlushedCounts()
	counts.Add(batch, s.full)
	s.saveCounts(counts, last.TID)
	if err := s.store.SetMark(side, layout.XSerial, record.AppendX(nil, uint64(last.TID))); err != nil {
		return fmt.Errorf("flush x.serial of %s into %s: %w", last.TID, side, err)
	}
	s.worker.sealed = 0
	took := s.o.Clock().Sub(begun)
	s.flushes.Add(1)
	s.o.Observer.Flushed(took, len(batch), files) // before anybody who waits for this flush goes on
	s.state.Flushed(batch, counts, took)
	// Each is released whatever becomes of the others: a segment that could not be
	// given up is tried again with the next one.
	var errs []error
	for _, c := range batch {
		errs = append(errs, s.journal.Release(c.TID))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("give back the log: %w", err)
	}
	if tight {
		s.giveBackLog()
	}
	s.log.Info("flushed", "transactions", len(batch), "files", files, "tid", last.TID, "side", string(side), "dur", took)
	return nil
}

// lanesFrom is from how many files on a flush has more than one goroutine.
const lanesFrom = 200

// pointerFile is a pointer that a flush writes.
type pointerFile struct {
	oid   zodb.OID
	tid   zodb.TID
	fresh bool // the object had none before
}

// flushFiles writes everything but x.serial, and makes it durable. Of a number
// of revisions of an object, one pointer is written, the last. The pointers come
// when all revisions are there, and the pointer of a new object has no earlier
// one to replace: so whoever finds a pointer finds what it names.
func (s *Storage) flushFiles(batch []*state.Committed, side store.Side, files int) error {
	b := s.store.NewRedo(side, files)
	place := make(map[zodb.OID]int)
	var pointers []pointerFile
	work := 0
	for _, c := range batch {
		work += 1 + len(c.Records)
		for i := range c.Records {
			e := &c.Records[i]
			at, again := place[e.OID]
			if !again {
				at = len(pointers)
				place[e.OID] = at
				pointers = append(pointers, pointerFile{oid: e.OID, fresh: e.Previous == 0})
			}
			pointers[at].tid = c.TID
		}
	}
	newest := func(oid zodb.OID) zodb.TID { return pointers[place[oid]].tid }
	lanes := 1
	if files >= s.o.lanesFrom {
		lanes = s.o.lanes
	}
	// Syncing takes about a fifth of the time.
	s.state.Progress.Total.Store(int64(work+len(pointers)) * 5 / 4)
	err := inPieces(b, lanes, len(batch), 1+syncEvery*len(batch)/work, func(b *classic.Redo, buf []byte, i int) ([]byte, error) {
		buf, err := s.flushTransaction(b, buf, batch[i], newest)
		s.state.Progress.Done.Add(int64(1 + len(batch[i].Records)))
		return buf, err
	})
	if err != nil {
		return err
	}
	if s.full {
		err := inPieces(b, lanes, len(pointers), syncEvery, func(b *classic.Redo, buf []byte, i int) ([]byte, error) {
			p := pointers[i]
			put := b.Replace
			if p.fresh {
				put = b.Create
			}
			buf = record.AppendPointer(buf[:0], p.tid)
			s.state.Progress.Done.Add(1)
			return buf, put(layout.Pointer(p.oid), buf)
		})
		if err != nil {
			return err
		}
	}
	highest := batch[len(batch)-1].MaxOID
	if err := b.HighestOID(record.AppendX(nil, uint64(highest))); err != nil {
		return err
	}
	return b.Sync()
}

// syncEvery is after how many files a flush syncs what it has written so far. All
// of a large batch at once keeps the disk busy for half a second, and commits wait behind that.
const syncEvery = 4000

// inPieces is inLanes, with a sync after each so many calls but the last ones.
func inPieces(b *classic.Redo, lanes, n, piece int, put func(b *classic.Redo, buf []byte, i int) ([]byte, error)) error {
	for from := 0; from < n; from += piece {
		if from > 0 {
			if err := b.Sync(); err != nil {
				return err
			}
		}
		err := inLanes(b, lanes, min(piece, n-from), func(b *classic.Redo, buf []byte, i int) ([]byte, error) {
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
func inLanes(b *classic.Redo, lanes, n int, put func(b *classic.Redo, buf []byte, i int) ([]byte, error)) error {
	var next atomic.Int64
	run := func(b *classic.Redo) (err error) {
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

// flushTransaction writes the revisions, blobs and the transaction file.
func (s *Storage) flushTransaction(b *classic.Redo, buf []byte, c *state.Committed, newest func(zodb.OID) zodb.TID) ([]byte, error) {
	md5 := s.settings.MD5Policy.Write
	for i := range c.Records {
		e := &c.Records[i]
		if !s.full && newest(e.OID) != c.TID {
			continue // class Minimal keeps the last one only
		}
		o, err := s.fromLog(c.Revision(i))
		if err != nil {
			return buf, err
		}
		if buf, err = o.Append(buf[:0], md5); err != nil {
			return buf, err
		}
		if !s.full {
			if err := b.Replace(layout.Object(e.OID), buf); err != nil {
				return buf, err
			}
			continue
		}
		if err := b.Create(layout.Revision(e.OID, c.TID), buf); err != nil {
			return buf, err
		}
		if e.Blob {
			if err := b.Adopt(layout.Blob(e.OID, c.TID), e.BlobFile, e.BlobSize); err != nil {
				return buf, err
			}
		}
	}
	if !s.full {
		return buf, nil
	}
	t := c.File()
	buf, err := t.Append(buf[:0], md5)
	if err != nil {
		return buf, err
	}
	return buf, b.Create(layout.Transaction(c.TID), buf)
}

// publicTransaction returns a transaction as iteration delivers it. It counts as packed
// if it was where it was copied from, or if the storage was packed to a later time.
func (s *Storage) publicTransaction(t *record.Transaction) *zodb.Transaction {
	status := zodb.StatusDone
	if t.Packed || s.packedAway(t.TID) {
		status = zodb.StatusPacked
	}
	return &zodb.Transaction{TID: t.TID, Previous: t.Previous, Status: status, OIDs: t.OIDs,
		TxnMeta: zodb.TxnMeta{User: t.User, Description: t.Description, Extension: t.Extension}}
}
