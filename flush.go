package dirstorage

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/tree"
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
// is not whole, and nobody reads a file that is not.
func (s *Storage) flush(upTo zodb.TID) error {
	s.mu.RLock()
	batch := s.nextBatch(upTo)
	side := s.snap.side
	s.mu.RUnlock()
	if len(batch) == 0 {
		return nil
	}
	if err := s.checkHome(); err != nil {
		return err
	}
	files := 0
	for _, c := range batch {
		files += c.files()
	}
	last := batch[len(batch)-1]
	begun := s.o.Clock()
	if err := s.flushFiles(batch, side, files); err != nil {
		return fmt.Errorf("flush up to %s into %s: %w", last.TID, side, err)
	}
	s.countsMu.Lock()
	defer s.countsMu.Unlock()
	s.mu.RLock()
	counts := s.counts
	s.mu.RUnlock()
	counts.add(batch, s.full)
	if err := s.saveCounts(counts, last.TID); err != nil {
		return fmt.Errorf("flush up to %s: %w", last.TID, err)
	}
	mark := s.tree.NewBatch(side, 1)
	err := mark.Replace(layout.XSerial, record.AppendX(nil, uint64(last.TID)))
	if err == nil {
		err = mark.Sync()
	}
	if err != nil {
		return fmt.Errorf("flush x.serial of %s into %s: %w", last.TID, side, err)
	}
	s.mu.Lock()
	s.unflushed.drop(len(batch))
	s.counts, s.flushed = counts, last.TID
	s.epoch.Add(1)
	s.signal()
	s.mu.Unlock()
	// Each is released whatever becomes of the others: a segment that could not be
	// given up is tried again with the next one.
	var errs []error
	for _, c := range batch {
		errs = append(errs, s.journal.Release(c.TID))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("give back the log: %w", err)
	}
	s.flushes.Add(1)
	s.log.Info("flushed", "transactions", len(batch), "files", files, "tid", last.TID, "side", string(side), "dur", s.o.Clock().Sub(begun))
	return nil
}

// nextBatch returns the transactions of one flush. mu must be held.
func (s *Storage) nextBatch(upTo zodb.TID) []*committed {
	j := s.settings.Journal
	files, n := 0, 0
	for _, c := range s.unflushed.queue {
		// One that is larger than a whole batch is a batch of its own.
		if c.TID > upTo || n > 0 && (n >= 4*j.FlushTransactionThreshold || files+c.files() > 4*j.FlushFileThreshold) {
			break
		}
		files += c.files()
		n++
	}
	return slices.Clone(s.unflushed.queue[:n])
}

// flushFiles writes everything but x.serial, and makes it durable. Of a number
// of revisions of an object, one pointer is written, the last.
func (s *Storage) flushFiles(batch []*committed, side tree.Side, files int) error {
	b := s.tree.NewBatch(side, files)
	newest := make(map[zodb.OID]zodb.TID)
	var order []zodb.OID
	for _, c := range batch {
		for i := range c.Records {
			oid := c.Records[i].OID
			if _, again := newest[oid]; !again {
				order = append(order, oid)
			}
			newest[oid] = c.TID
		}
	}
	for _, c := range batch {
		if err := s.flushTransaction(b, c, newest); err != nil {
			return err
		}
	}
	if s.full {
		for _, oid := range order {
			if err := b.Replace(layout.Pointer(oid), record.AppendPointer(nil, newest[oid])); err != nil {
				return err
			}
		}
	}
	highest := batch[len(batch)-1].MaxOID
	if err := b.Replace(layout.XOID, record.AppendX(nil, uint64(highest))); err != nil {
		return err
	}
	return b.Sync()
}

// flushTransaction writes the revisions, blobs and the transaction file.
func (s *Storage) flushTransaction(b *tree.Batch, c *committed, newest map[zodb.OID]zodb.TID) error {
	var buf []byte
	md5 := s.settings.MD5Policy.Write
	for i := range c.Records {
		e := &c.Records[i]
		if !s.full && newest[e.OID] != c.TID {
			continue // class Minimal keeps the last one only
		}
		o, err := s.fromLog(revisionInLog{c.TID, e})
		if err != nil {
			return err
		}
		if buf, err = o.Append(buf[:0], md5); err != nil {
			return err
		}
		if !s.full {
			if err := b.Replace(layout.Object(e.OID), buf); err != nil {
				return err
			}
			continue
		}
		if err := b.Create(layout.Revision(e.OID, c.TID), buf); err != nil {
			return err
		}
		if e.Blob {
			if err := b.Adopt(layout.Blob(e.OID, c.TID), e.BlobFile, e.BlobSize); err != nil {
				return err
			}
		}
	}
	if !s.full {
		return nil
	}
	t := c.file()
	buf, err := t.Append(buf[:0], md5)
	if err != nil {
		return err
	}
	return b.Create(layout.Transaction(c.TID), buf)
}

// file returns the transaction file that the flush writes.
func (c *committed) file() *record.Transaction {
	oids := make([]zodb.OID, len(c.Records))
	for i := range c.Records {
		oids[i] = c.Records[i].OID
	}
	return &record.Transaction{TID: c.TID, Previous: c.Previous,
		User: c.Meta.User, Description: c.Meta.Description, Extension: c.Meta.Extension, OIDs: oids}
}

// transaction returns it as iteration delivers it.
func (c *committed) transaction() *zodb.Transaction { return publicTransaction(c.file()) }

func publicTransaction(t *record.Transaction) *zodb.Transaction {
	return &zodb.Transaction{TID: t.TID, Previous: t.Previous, Status: ' ', OIDs: t.OIDs,
		TxnMeta: zodb.TxnMeta{User: t.User, Description: t.Description, Extension: t.Extension}}
}
