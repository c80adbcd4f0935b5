package engine

import (
	"runtime"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestObjectsOfATransactionTakeLittleMemory measures what a transaction of many objects takes
// beside their records, at each of its stages. About 50 bytes of each bound are buffers that do not
// grow with it.
func TestObjectsOfATransactionTakeLittleMemory(t *testing.T) {
	const n = 20_000
	s := newStorage(t, Options{SpoolSize: 64 << 10})
	data := rec("0123456789")
	begin := heapAlloc()
	stage := func(name string, most int64) {
		each := (int64(heapAlloc()) - int64(begin)) / n
		t.Logf("%s: %d bytes an object", name, each)
		if each > most {
			t.Errorf("%s: an object takes %d bytes, at most %d are allowed", name, each, most)
		}
	}
	txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := txn.Store(zodb.OID(i), 0, data); err != nil {
			t.Fatal(err)
		}
	}
	stage("stored", 80)
	if err := txn.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	stage("voted for", 330)
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := idle(t, s) // no flush adds its part meanwhile
	if _, err := txn.Finish(t.Context(), func(zodb.TID) { stage("published", 370) }); err != nil {
		t.Fatal(err)
	}
	again()
	runtime.KeepAlive(s)
}

// heapAlloc returns the bytes of memory in use.
func heapAlloc() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
