package oidlock

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/dirstorage/dirstorage/zodb"
)

func set(oids ...zodb.OID) Set {
	var s Set
	for _, o := range oids {
		s.Add(Key{OID: o}, true)
	}
	return s
}

// keys is a set to compare with: true = exclusively.
type keys map[Key]bool

// shuffled returns the set in any order, with some keys twice.
func (k keys) shuffled() Set {
	var s Set
	for key, exclusive := range k {
		s.Add(key, exclusive)
		if key.OID%2 == 0 {
			s.Add(key, false)
		}
	}
	for key := range k {
		if key.OID%3 == 0 {
			s.Add(key, false)
		}
	}
	return s
}

// count returns how many lines there are.
func (t *Table) count() int { return len(t.lines[0]) + len(t.lines[1]) }

// TestCovers compares Covers with a plain comparison of the keys.
func TestCovers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 5))
	some := func() keys {
		k := keys{}
		for range rnd.IntN(5) {
			k[Key{OID: zodb.OID(rnd.IntN(3)), Existence: rnd.IntN(2) == 0}] = rnd.IntN(2) == 0
		}
		return k
	}
	results := map[bool]int{}
	for range 2000 {
		has, want := some(), some()
		covered := true
		for k, exclusive := range want {
			e, ok := has[k]
			covered = covered && ok && (e || !exclusive)
		}
		s := want.shuffled()
		if got := newRequest(new(Table), has.shuffled()).Covers(&s); got != covered {
			t.Fatalf("%v covers %v: %v", has, want, got)
		}
		results[covered]++
	}
	if results[true] < 100 || results[false] < 100 {
		t.Errorf("the sets are too much alike: %v", results)
	}
}

// TestKeysTakeLittleMemory bounds the memory of a key, in the set and in the table, and the rest in
// the table when all are free.
func TestKeysTakeLittleMemory(t *testing.T) {
	const n = 50_000
	var table Table
	begin := heapAlloc()
	r, _, err := table.Lock(t.Context(), large(1, n, true))
	if err != nil {
		t.Fatal(err)
	}
	if each := (heapAlloc() - begin) / n; each > 80 {
		t.Errorf("a key takes %d bytes, at most 80 are allowed", each)
	}
	r.Unlock()
	r = nil
	var same Set
	for i := range 10 * n {
		same.Add(Key{OID: zodb.OID(i % 100)}, false)
	}
	if each := (heapAlloc() - begin) / 100; each > 1000 {
		t.Errorf("a key that was added often takes %d bytes", each)
	}
	runtime.KeepAlive(&same)
	same = Set{}
	if left := heapAlloc() - begin; left > 64<<10 {
		t.Errorf("%d bytes are left", left)
	}
	runtime.KeepAlive(&table)
}

func heapAlloc() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestNoTwoOwnersHoldTheSameObject(t *testing.T) {
	var table Table
	var holders [8]atomic.Int32
	var wait sync.WaitGroup
	for g := range 16 {
		wait.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(g)))
			for range 500 {
				want := keys{}
				for range 1 + rnd.IntN(4) {
					want[Key{OID: zodb.OID(rnd.IntN(len(holders)))}] = rnd.IntN(3) > 0
				}
				r, _, err := table.Lock(t.Context(), want.shuffled())
				if err != nil {
					t.Error(err)
					return
				}
				for k, exclusive := range want {
					if exclusive {
						if n := holders[k.OID].Add(1000); n != 1000 {
							t.Errorf("exclusive owner of %s meets others: %d", k.OID, n)
						}
					} else if n := holders[k.OID].Add(1); n >= 1000 {
						t.Errorf("shared owner of %s meets an exclusive one: %d", k.OID, n)
					}
				}
				for k, exclusive := range want {
					if exclusive {
						holders[k.OID].Add(-1000)
					} else {
						holders[k.OID].Add(-1)
					}
				}
				r.Unlock()
			}
		})
	}
	wait.Wait()
	if n := table.Held(); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}

func TestLockIsAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table
		first, _, _ := table.Lock(t.Context(), set(1))
		done := make(chan *Request)
		go func() {
			r, _, _ := table.Lock(t.Context(), set(1, 2))
			done <- r
		}()
		synctest.Wait()
		// The waiter must not hold 2 while it waits for 1 …
		if got := table.Held(); got != 1 {
			t.Errorf("%d locks held while one waits, want 1", got)
		}
		first.Unlock()
		(<-done).Unlock()
	})
}

func TestEarlierWaiterIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table
		first, _, _ := table.Lock(t.Context(), set(1))
		var order []int
		var wait sync.WaitGroup
		var mu sync.Mutex
		start := func(n int, want Set) {
			wait.Go(func() {
				r, _, _ := table.Lock(t.Context(), want)
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
				r.Unlock()
			})
			synctest.Wait()
		}
		start(1, set(1, 2))
		start(2, set(2)) // 2 is free, but the first one waits for it
		first.Unlock()
		wait.Wait()
		if order[0] != 1 || order[1] != 2 {
			t.Errorf("served in order %v", order)
		}
	})
}

func TestWaiterThatGivesUpLeavesNothingLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table Table
		first, _, _ := table.Lock(t.Context(), set(1))
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() {
			_, _, err := table.Lock(ctx, set(1, 2))
			result <- err
		}()
		synctest.Wait()
		behind := make(chan *Request)
		go func() {
			r, _, _ := table.Lock(t.Context(), set(2))
			behind <- r
		}()
		synctest.Wait()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		(<-behind).Unlock() // it waited only for the one that gave up
		first.Unlock()
		if n := table.Held(); n != 0 {
			t.Errorf("%d locks are left", n)
		}
	})
}

func TestSharedOwnersRunSideBySide(t *testing.T) {
	var table Table
	shared := keys{Key{OID: 1, Existence: true}: false}
	for range 2 {
		if _, waited, err := table.Lock(t.Context(), shared.shuffled()); waited || err != nil {
			t.Fatalf("waited=%v err=%v", waited, err)
		}
	}
	// The existence of an object and its revision are locked apart.
	if _, waited, _ := table.Lock(t.Context(), set(1)); waited {
		t.Error("a writer waits for a referrer")
	}
}
