package oidlock

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// order is the rule of the table, said in the plainest way: the requests by their arrival, each of
// which runs if nobody who runs, and nobody before it, excludes it.
type order []*wanted

type wanted struct {
	set     keys
	granted bool
}

func (w *wanted) excludes(other *wanted) bool {
	for k, exclusive := range w.set {
		if theirs, ok := other.set[k]; ok && (exclusive || theirs) {
			return true
		}
	}
	return false
}

func (o order) serve() {
	for i, w := range o {
		free := !slices.ContainsFunc(o, func(other *wanted) bool { return other != w && other.granted && other.excludes(w) })
		w.granted = w.granted || free && !slices.ContainsFunc(o[:i], w.excludes)
	}
}

// TestRequestsAreGrantedInOrder compares the table with order over random arrivals,
// ends and requests that give up.
func TestRequestsAreGrantedInOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var table Table
		var model order
		real := make(map[*wanted]*Request)
		for n := range 400 {
			if len(model) > 0 && rnd.IntN(100) < 45+len(model) {
				i := rnd.IntN(len(model))
				real[model[i]].Unlock() // for one that waits: it gives up
				model = slices.Delete(model, i, i+1)
			} else {
				w := &wanted{set: keys{}}
				for range rnd.IntN(5) {
					w.set[Key{OID: zodb.OID(rnd.IntN(6)), Existence: rnd.IntN(4) == 0}] = rnd.IntN(2) == 0
				}
				r := newRequest(&table, w.set.shuffled())
				r.getInLine(t.Context())
				model, real[w] = append(model, w), r
			}
			model.serve()
			held := make(map[Key]bool)
			for i, w := range model {
				if got := real[w].granted; got != w.granted {
					t.Fatalf("seed %d, step %d: request %d of %d is granted: %v, want %v", seed, n, i, len(model), got, w.granted)
				}
				for k := range w.set {
					if w.granted {
						held[k] = true
					}
				}
			}
			if got := table.Held(); got != len(held) {
				t.Fatalf("seed %d, step %d: %d keys are held, want %d", seed, n, got, len(held))
			}
		}
		for _, w := range model {
			real[w].Unlock()
		}
		if table.count() != 0 {
			t.Fatalf("seed %d: %d lines are left", seed, table.count())
		}
	}
}

// large returns a set of n keys from an oid on.
func large(from zodb.OID, n int, exclusive bool) Set {
	s := NewSet(n)
	for i := range n {
		s.Add(Key{OID: from + zodb.OID(i)}, exclusive)
	}
	return s
}

// TestWaitingCostsOthersNothing counts the steps of a request, beside one that waits with many
// objects.
func TestWaitingCostsOthersNothing(t *testing.T) {
	t.Parallel()
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	var table Table
	first, _, err := table.Lock(t.Context(), set(1))
	if err != nil {
		t.Fatal(err)
	}
	big := newRequest(&table, large(1, n, false))
	big.getInLine(t.Context())
	if big.granted {
		t.Fatal("it does not wait")
	}
	for range 3 {
		r, waited, err := table.Lock(t.Context(), set(1<<40, 1<<40+1))
		if err != nil || waited || table.steps > 4 {
			t.Errorf("lock two other objects: waited %v, err %v; it looked at %d entries", waited, err, table.steps)
		}
		if r.Unlock(); table.steps > 4 {
			t.Errorf("unlock two other objects: it looked at %d entries", table.steps)
		}
	}
	if first.Unlock(); !big.granted || table.steps > 4 {
		t.Errorf("unlock what it waits for: granted %v; it looked at %d entries", big.granted, table.steps)
	}
	big.Unlock()
	if table.count() != 0 {
		t.Errorf("%d lines are left", table.count())
	}
}

// TestLargeRequestLeavesTheTableToOthers: also while it gets in line and out of it,
// others have their turn; whom it excludes wait for it, and it waits for whom excludes it.
func TestLargeRequestLeavesTheTableToOthers(t *testing.T) {
	t.Parallel()
	const n = 20 * pieceSteps
	var table Table
	var wait sync.WaitGroup
	ended := make(chan struct{})
	wait.Go(func() {
		defer close(ended)
		for range 3 {
			r, _, err := table.Lock(t.Context(), large(0, n, true))
			if err != nil {
				t.Error(err)
				return
			}
			r.Unlock()
		}
	})
	turns := 0
	for running := true; running; turns++ {
		select {
		case <-ended:
			running = false
		default:
		}
		r, _, err := table.Lock(t.Context(), set(n+1))
		if err != nil {
			t.Fatal(err)
		}
		r.Unlock()
	}
	wait.Wait()
	// With the table held throughout there would be six turns between.
	if turns < 20 {
		t.Errorf("others had %d turns beside 120 pieces", turns)
	}
}

// TestLargeRequestsExcludeEachOther has sets of several pieces that overlap, some of
// which are given up.
func TestLargeRequestsExcludeEachOther(t *testing.T) {
	t.Parallel()
	const n = 3 * pieceSteps
	var table Table
	var wait sync.WaitGroup
	counts := make([]int, 4*n) // guarded by the table, for the race detector too
	for g := range 6 {
		wait.Go(func() {
			rnd := rand.New(rand.NewPCG(9, uint64(g)))
			for range 12 {
				from := rnd.IntN(3 * n)
				ctx, cancel := context.WithCancel(t.Context())
				if rnd.IntN(3) == 0 {
					wait.Go(cancel)
				}
				r, _, err := table.Lock(ctx, large(zodb.OID(from), 1+rnd.IntN(n), true))
				if err == nil {
					for i := range r.entries {
						counts[r.entries[i].oid]++
					}
					r.Unlock()
				}
				cancel()
			}
		})
	}
	wait.Wait()
	if table.count() != 0 {
		t.Errorf("%d lines are left", table.count())
	}
}
