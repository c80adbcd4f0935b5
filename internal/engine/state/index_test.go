package state

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestIndexHasWhatIsUnflushed compares the index with a list, over random transactions and flushes.
// The number of the first transaction passes the end of its type.
func TestIndexHasWhatIsUnflushed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		x := index{keep: 1 << 20, first: ^uint32(0) - 10}
		var all []*Committed
		for tid := zodb.TID(1); tid < 100; {
			if n := rnd.IntN(6); n < 2 {
				n = min(n*rnd.IntN(8), len(all))
				x.drop(n)
				all = all[n:]
			} else {
				c := &Committed{Committed: journal.Committed{TID: tid}}
				for _, oid := range rnd.Perm(12)[:rnd.IntN(5)] {
					c.Records = append(c.Records, journal.Entry{OID: zodb.OID(oid), Len: int64(tid)})
					c.Objects = append(c.Objects, &record.Object{OID: zodb.OID(oid), Serial: tid})
				}
				x.add(c)
				all = append(all, c)
				tid++
			}
			where := fmt.Sprintf("seed %d before transaction %d", seed, tid)
			objects := map[zodb.OID]bool{}
			for oid := range zodb.OID(12) {
				var want []Revision
				for _, c := range all {
					for i, e := range c.Records {
						if e.OID == oid {
							want = append(want, c.Revision(i))
							objects[oid] = true
						}
					}
				}
				var one [1]Revision
				got := x.of(oid, &one)
				if !slices.Equal(got, want) {
					t.Fatalf("%s: object %s has %v, want %v", where, oid, got, want)
				}
				if current, ok := x.current(oid); ok != (len(want) > 0) || ok && current != want[len(want)-1] {
					t.Fatalf("%s: object %s is %v", where, oid, current)
				}
			}
			got := map[zodb.OID]bool{}
			for oid := range x.oids() {
				got[oid] = true
			}
			if !reflect.DeepEqual(got, objects) {
				t.Fatalf("%s: the objects are %v, want %v", where, got, objects)
			}
		}
		if x.drop(len(all)); x.memory != 0 || x.kept != 0 || x.one != nil || x.many != nil {
			t.Errorf("seed %d: %+v is left", seed, x)
		}
	}
}

// TestMemoryIsWhatTransactionsTake compares the estimate of admission to the heap.
func TestMemoryIsWhatTransactionsTake(t *testing.T) {
	inUse := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, tc := range []struct {
		transactions, objects int
		kept                  bool
	}{{1, 50_000, false}, {1, 30_000, false}, {2_000, 10, true}, {2_000, 10, false}, {10_000, 1, false}} {
		x := index{keep: 1 << 30}
		begin := inUse()
		for i := range tc.transactions {
			c := &Committed{Committed: journal.Committed{TID: zodb.TID(i + 1), Records: make([]journal.Entry, tc.objects)}}
			for k := range c.Records {
				c.Records[k] = journal.Entry{OID: zodb.OID(i*tc.objects + k)}
				if tc.kept {
					c.Objects = append(c.Objects, &record.Object{OID: c.Records[k].OID})
				}
			}
			x.add(c)
		}
		took := inUse() - begin
		if low, high := took*8/10, took*2; x.memory < low || x.memory > high {
			t.Errorf("%+v: it takes %d bytes, and is said to take %d", tc, took, x.memory)
		}
		t.Logf("%+v: %d bytes an object, reckoned %d", tc, took/int64(tc.transactions*tc.objects), x.memory/int64(tc.transactions*tc.objects))
		runtime.KeepAlive(&x)
	}
}
