package flush

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
// Recovery relies on the order: first everything but x.serial, made
// durable; then x.serial, made durable; then the index forgets the
// transactions; then the log does. So x.serial never names a transaction that
// is not whole, and nobody reads a file that is not. From the moment that x.serial may
// have its name the rest of the batch is not touched any more: if only the mark
// failed, only that is repeated.
func (w *Worker) flush(upTo zodb.TID) error {
	batch := w.o.State.NextBatch(upTo)
	if n := w.sealed; n > 0 { // there is only the mark to be put
		batch = w.o.State.Oldest(n)
	}
	if len(batch) == 0 {
		return nil
	}
	tight := false
	if w.sealed == 0 {
		batch, tight = w.o.Space.ForBatch(batch)
	}
	side := w.o.State.BeginFlush(batch)
	defer w.o.State.EndFlush()
	if err := w.o.Home.Check(); err != nil {
		return err
	}
	if err := w.o.Snapshots.payFloor(); err != nil {
		return err
	}
	files := 0
	for _, c := range batch {
		files += c.Work
	}
	last := batch[len(batch)-1]
	begun := w.o.Clock()
	if w.sealed == 0 {
		if err := w.o.Store.Put(side, w.outgoing(batch), &w.o.State.Progress); err != nil {
			return fmt.Errorf("flush up to %s into %s: %w", last.TID, side, err)
		}
	}
	w.sealed = len(batch)
	w.o.Tally.countsMu.Lock()
	defer w.o.Tally.countsMu.Unlock()
	counts, _ := w.o.State.FlushedCounts()
	state.AddBatch(&counts, batch, w.o.Home.Full)
	w.o.Tally.save(counts, last.TID)
	if err := w.o.Store.SetLast(side, last.TID); err != nil {
		return fmt.Errorf("flush x.serial of %s into %s: %w", last.TID, side, err)
	}
	w.sealed = 0
	took := w.o.Clock().Sub(begun)
	w.flushes.Add(1)
	w.o.Observer.Flushed(took, len(batch), files) // before the waiters for this flush go on
	w.o.State.Flushed(batch, counts, took)
	// Each is released, even if others fail: a segment that could not be
	// given up is tried again with the next one.
	var errs []error
	for _, c := range batch {
		errs = append(errs, w.journal.Release(c.TID))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("give back the log: %w", err)
	}
	if tight {
		w.o.Space.GiveBackLog()
	}
	w.o.Log.Info("flushed", "transactions", len(batch), "files", files, "tid", last.TID, "side", string(side), "dur", took)
	return nil
}
