package engine

import (
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/engine/state"
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
		batch, tight = s.space.ForBatch(batch)
	}
	side := s.state.BeginFlush(batch)
	defer s.state.EndFlush()
	if err := s.home.Check(); err != nil {
		return err
	}
	if err := s.payFloor(); err != nil {
		return err
	}
	files := 0
	for _, c := range batch {
		files += c.Work
	}
	last := batch[len(batch)-1]
	begun := s.o.Clock()
	if s.worker.sealed == 0 {
		if err := s.store.Put(side, s.outgoing(batch), &s.state.Progress); err != nil {
			return fmt.Errorf("flush up to %s into %s: %w", last.TID, side, err)
		}
	}
	s.worker.sealed = len(batch)
	s.countsMu.Lock()
	defer s.countsMu.Unlock()
	counts, _ := s.state.FlushedCounts()
	state.AddBatch(&counts, batch, s.home.Full)
	s.saveCounts(counts, last.TID)
	if err := s.store.SetLast(side, last.TID); err != nil {
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
		s.space.GiveBackLog()
	}
	s.log.Info("flushed", "transactions", len(batch), "files", files, "tid", last.TID, "side", string(side), "dur", took)
	return nil
}
