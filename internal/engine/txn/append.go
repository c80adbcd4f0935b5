package txn

import (
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/record"
)

// appendToLog writes a transaction into the log. Nothing is committed by it.
func (m *Manager) appendToLog(t *Txn) error {
	p := &journal.Pending{
		Meta:    t.meta,
		Packed:  t.packed,
		Records: make([]journal.Entry, 0, t.ops.n),
		Data:    func(i int) ([]byte, error) { return t.spool.get(t.ops.at(i).data) },
	}
	for op := range t.ops.all() {
		e := journal.Entry{OID: op.oid, Previous: op.previous, UndoFrom: op.aside().undoFrom, Gone: op.gone, Len: int64(op.data.length)}
		if b := op.blob(); b != nil {
			e.Blob, e.BlobSum, e.BlobFile, e.BlobSize = true, b.sum, b.name, b.size
		}
		p.Records = append(p.Records, e)
		m.o.OIDs.Raise(op.oid)
	}
	if err := m.journal.Append(p); err != nil {
		// Without a commit record the transaction means nothing. If the log itself is
		// broken it says so at every call; a full disk passes.
		if cause := m.journal.Failure(); cause != nil {
			return m.o.State.Fail(cause)
		}
		err = fmt.Errorf("write transaction into the log: %w", err)
		m.o.State.LogFailed(err)
		return err
	}
	m.o.State.LogWorks()
	t.pending = p
	return nil
}

// newCommitted returns the entry of the index for a transaction that was committed
// at that time.
func (m *Manager) newCommitted(frame journal.CommitRecord, at time.Time) *state.Committed {
	c := &state.Committed{At: at, Committed: *frame.Committed()}
	c.Measure(m.o.Store.Cost)
	return c
}

// recordsInMemory reports whether the records stay in memory until they are flushed, if
// there is enough.
func (t *Txn) recordsInMemory() bool { return t.m.o.KeepRecords && t.spool.file == nil }

// objects returns the records of a transaction that was committed, if all of them are
// in memory.
func (t *Txn) objects(c *state.Committed) []*record.Object {
	if !t.recordsInMemory() {
		return nil
	}
	list := make([]*record.Object, len(c.Records))
	for i := range c.Records {
		e := &c.Records[i]
		data, _ := t.spool.get(t.ops.at(i).data) // never an error: there is no file
		list[i] = &record.Object{OID: e.OID, UndoFrom: e.UndoFrom, BlobSum: e.BlobSum, Previous: e.Previous, Serial: c.TID, Data: data}
	}
	return list
}
