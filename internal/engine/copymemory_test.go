package engine

import (
	"bytes"
	"errors"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/zodb"
)

// beginCopy begins a transaction with a tid, and brings so many new objects.
func beginCopy(t *testing.T, s *Storage, tid zodb.TID, objects int) *txn.Txn {
	t.Helper()
	txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
	if err != nil {
		t.Fatal(err)
	}
	for i := range objects {
		r := zodb.Record{OID: zodb.OID(uint64(tid)<<8 + uint64(i)), TID: tid, Data: rec(string(bytes.Repeat([]byte("x"), 200))), Exists: true}
		if err := txn.Restore(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
	}
	return txn
}

// TestCopiesWaitForMemory: the records of a copy come when the one before it is flushed, if
// that takes up the memory, and a large copy keeps nothing of them from the vote on.
func TestCopiesWaitForMemory(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{History: HistoryCopied, LogMemory: 1, SpoolSize: 1000})
	for tid := zodb.TID(1); tid <= 5; tid++ {
		txn := beginCopy(t, s, tid, 0)
		if used := s.state.Report(state.Footprint{}).Demand.Memory; used >= 1 {
			t.Errorf("transaction %d was begun while %.0f times the memory was used", tid, used)
		}
		if err := txn.Abort(); err != nil {
			t.Fatal(err)
		}
		txn = beginCopy(t, s, tid, 50)
		if err := txn.Vote(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := txn.Data(zodb.OID(uint64(tid) << 8)); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("after the vote it keeps the operations: %v", err)
		}
		if got, err := txn.Finish(t.Context(), nil); err != nil || got != tid {
			t.Fatalf("finish: %s, %v", got, err)
		}
	}
	for tid := zodb.TID(1); tid <= 5; tid++ {
		for i := range zodb.OID(50) {
			if got := load(t, s, zodb.OID(uint64(tid)<<8)+i); len(got) < 200 {
				t.Fatalf("object %d of transaction %d: %d bytes", i, tid, len(got))
			}
		}
	}
}
