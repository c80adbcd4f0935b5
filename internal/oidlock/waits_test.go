package oidlock

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestWaitsNameTheWayOut compares Waits with a plain look at all requests, over random arrivals and
// ends: who waits, for a key that somebody has or wanted earlier, and for whom.
func TestWaitsNameTheWayOut(t *testing.T) {
	t.Parallel()
	seen := map[bool]int{}
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 8))
		var table Table
		type owner struct {
			set keys
			r   *Request
		}
		owners := make(map[uint64]*owner)
		var order []uint64
		for n := range uint64(300) {
			if len(order) > 0 && rnd.IntN(100) < 40+len(order) {
				i := rnd.IntN(len(order))
				owners[order[i]].r.Unlock()
				delete(owners, order[i])
				order = slices.Delete(order, i, i+1)
			} else {
				o := &owner{set: keys{}}
				for range 1 + rnd.IntN(4) {
					o.set[Key{OID: zodb.OID(rnd.IntN(6)), Existence: rnd.IntN(4) == 0}] = rnd.IntN(2) == 0
				}
				set := o.set.shuffled()
				set.Owner = n + 1
				o.r = newRequest(&table, set)
				o.r.getInLine(t.Context())
				owners[n+1], order = o, append(order, n+1)
			}
			var waiting []uint64
			for _, number := range order {
				if !owners[number].r.granted {
					waiting = append(waiting, number)
				}
			}
			waits := table.Waits(100)
			var found []uint64
			for _, w := range waits {
				found = append(found, w.Owner)
				its, other := owners[w.Owner], owners[w.Holder]
				if !w.Known || its == nil || other == nil {
					t.Fatalf("seed %d: %+v", seed, w)
				}
				mine, wanted := its.set[w.Key]
				theirs, has := other.set[w.Key]
				if !wanted || !has || !mine && !theirs || w.Held != other.r.granted || !w.Held && w.Holder > w.Owner {
					t.Fatalf("seed %d: %+v, with the sets %v and %v", seed, w, its.set, other.set)
				}
				seen[w.Held]++
			}
			if !slices.Equal(found, waiting) || table.Waiting() != len(waiting) {
				t.Fatalf("seed %d: %v wait, want %v; %d are counted", seed, found, waiting, table.Waiting())
			}
			if len(waiting) > 1 && len(table.Waits(1)) != 1 {
				t.Fatalf("seed %d: one was asked for", seed)
			}
		}
		for _, o := range owners {
			o.r.Unlock()
		}
		if table.Waits(1) != nil || len(table.wait) != 0 {
			t.Fatalf("seed %d: %v wait at the end", seed, table.Waits(10))
		}
	}
	if seen[true] < 100 || seen[false] < 10 {
		t.Errorf("too few kinds of waits: %v", seen)
	}
}

// TestWaitsLookAtABoundedNumberOfKeys: the key for which a very large request waits is its last one.
func TestWaitsLookAtABoundedNumberOfKeys(t *testing.T) {
	t.Parallel()
	var table Table
	const n = mostLooked + 10
	first, _, err := table.Lock(t.Context(), set(n-1))
	if err != nil {
		t.Fatal(err)
	}
	big := large(0, n, true)
	big.Owner = 7
	r := newRequest(&table, big)
	r.getInLine(t.Context())
	if w := table.Waits(10); len(w) != 1 || w[0] != (Wait{Owner: 7}) {
		t.Errorf("it is told as %+v", w)
	}
	first.Unlock()
	r.Unlock()
}
