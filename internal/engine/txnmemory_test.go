package engine

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestObjectsOfATransactionTakeLittleMemory measures the memory of a transaction of many objects
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

// TestLargeTransactionsSideBySideStayBelowTheMemory: all of them come through, and unflushed and
// promised bytes never exceed the memory.
func TestLargeTransactionsSideBySideStayBelowTheMemory(t *testing.T) {
	t.Parallel()
	const n, objects = 8, 100
	s := newStorage(t, Options{LogMemory: 25_000, RetryInterval: time.Hour})
	limit := 25_000 * int64(s.home.Settings.Journal.Backlog+1)
	if one := state.Memory(&zodb.TxnMeta{}, objects, true); 4*one <= limit || 3*one > limit {
		t.Fatalf("a transaction takes %d, of %d", one, limit)
	}
	var mu sync.Mutex
	most := int64(0)
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		d := s.state.Report(state.Footprint{}).Demand
		most = max(most, int64(d.Memory*float64(limit))+d.PromisedMemory)
	}
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
			for k := 0; k < objects && err == nil; k++ {
				err = txn.Store(zodb.OID(i*objects+k), 0, rec("x"))
			}
			if err == nil {
				err = txn.Vote(t.Context())
			}
			look()
			if err == nil {
				_, err = txn.Finish(t.Context(), func(zodb.TID) { look() })
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if most > limit || most < limit/2 {
		t.Errorf("they took up to %d bytes, of %d", most, limit)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	if d := s.state.Report(state.Footprint{}).Demand; d != (state.Demand{}) {
		t.Errorf("at rest: %+v", d)
	}
}
