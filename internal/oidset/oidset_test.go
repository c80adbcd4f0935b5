package oidset_test

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/zodb"
)

const enough = 1 << 30

func TestSetHoldsTheOIDsThatWereAdded(t *testing.T) {
	t.Parallel()
	for name, oidOf := range map[string]func(*rand.Rand) zodb.OID{
		"dense":     func(r *rand.Rand) zodb.OID { return zodb.OID(r.Uint64N(100_000)) },
		"spread":    func(r *rand.Rand) zodb.OID { return zodb.OID(r.Uint64N(1 << 28)) },
		"far apart": func(r *rand.Rand) zodb.OID { return zodb.OID(r.Uint64()) },
		"clusters":  func(r *rand.Rand) zodb.OID { return zodb.OID(r.Uint64N(8)<<61 | r.Uint64N(8)<<30 | r.Uint64N(1000)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(1, 2))
			s, other := oidset.New(enough), oidset.New(enough)
			in := map[zodb.OID]bool{}
			for range 20_000 {
				oid := oidOf(random)
				ok, fresh := s.Add(oid)
				if !ok || fresh == in[oid] {
					t.Fatalf("add(%s) = %v, %v, but in = %v", oid, ok, fresh, in[oid])
				}
				in[oid] = true
				if oid%3 == 0 {
					other.Add(oid)
				}
			}
			if s.Len() != int64(len(in)) {
				t.Errorf("len is %d, want %d", s.Len(), len(in))
			}
			var all, rest []zodb.OID
			for oid := range in {
				if !s.Has(oid) {
					t.Fatalf("%s is not in the set", oid)
				}
				all = append(all, oid)
				if oid%3 != 0 {
					rest = append(rest, oid)
				}
				if neighbour := oid ^ 1; s.Has(neighbour) != in[neighbour] {
					t.Fatalf("has(%s) is %v", neighbour, !in[neighbour])
				}
			}
			slices.Sort(all)
			slices.Sort(rest)
			if got := slices.Collect(s.Each()); !slices.Equal(got, all) {
				t.Errorf("each yields %d oids, want %d, in ascending order", len(got), len(all))
			}
			if got := slices.Collect(s.Without(other)); !slices.Equal(got, rest) {
				t.Errorf("without yields %d oids, want %d, in ascending order", len(got), len(rest))
			}
		})
	}
}

func TestFirstAndLastOID(t *testing.T) {
	t.Parallel()
	s := oidset.New(enough)
	want := []zodb.OID{0, 1 << 62, ^zodb.OID(0)}
	for _, oid := range want {
		s.Add(oid)
	}
	if got := slices.Collect(s.Each()); !slices.Equal(got, want) {
		t.Errorf("each yields %v", got)
	}
}

// heapAfter returns how many bytes of heap are in use.
func heapAfter() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemoryStaysWithinTheLimit is not parallel, because the heap of other tests
// would count. It fills sets until they refuse.
func TestMemoryStaysWithinTheLimit(t *testing.T) {
	const limit = 2 << 20
	for _, tc := range []struct {
		name  string
		oidOf func(n uint64, r *rand.Rand) uint64
		least int64 // as many have to find room
	}{
		{"every second", func(n uint64, _ *rand.Rand) uint64 { return 2 * n }, limit * 4 * 95 / 100},
		{"one in 100", func(n uint64, _ *rand.Rand) uint64 { return n * 100 }, limit / 4},
		{"one in 10,000", func(n uint64, _ *rand.Rand) uint64 { return n * 10_000 }, limit / 40},
		{"far apart", func(_ uint64, r *rand.Rand) uint64 { return r.Uint64() }, limit / 180},
	} {
		random := rand.New(rand.NewPCG(3, 4))
		before := heapAfter()
		s := oidset.New(limit)
		added := int64(0)
		for n := uint64(0); ; n++ {
			ok, fresh := s.Add(zodb.OID(tc.oidOf(n, random)))
			if !ok {
				break
			}
			if fresh {
				added++
			}
		}
		used := heapAfter() - before
		t.Logf("%s: %d oids in %d bytes", tc.name, added, used)
		if used > limit*5/4 {
			t.Errorf("%s: a set of at most %d bytes takes %d", tc.name, limit, used)
		}
		if added < tc.least || s.Len() != added {
			t.Errorf("%s: there was room for %d oids (len %d), want %d", tc.name, added, s.Len(), tc.least)
		}
		if ok, fresh := s.Add(zodb.OID(tc.oidOf(0, rand.New(rand.NewPCG(3, 4))))); !ok || fresh {
			t.Errorf("%s: a full set does not know an oid that it has: %v, %v", tc.name, ok, fresh)
		}
		runtime.KeepAlive(s)
	}
}

func TestNoRoomForAnything(t *testing.T) {
	t.Parallel()
	if ok, fresh := oidset.New(0).Add(1); ok || fresh {
		t.Errorf("add: %v, %v", ok, fresh)
	}
}

// TestConcurrentUse also adds in the loop of a walk, which is how pack uses it.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	const workers, each = 4, 20_000
	s, seen := oidset.New(enough), oidset.New(enough)
	var wait sync.WaitGroup
	var fresh [workers]int64
	for w := range workers {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(5, uint64(w)))
			for range each {
				if _, isNew := s.Add(zodb.OID(random.Uint64N(1 << 17))); isNew {
					fresh[w]++
				}
			}
		})
		wait.Go(func() {
			for oid := range s.Without(seen) {
				seen.Add(oid)
			}
			for range seen.Without(s) {
				t.Error("a walk has yielded an oid that is not in the set")
			}
		})
	}
	wait.Wait()
	sum := int64(0)
	for _, n := range fresh {
		sum += n
	}
	if sum != s.Len() {
		t.Errorf("%d oids were new, the set has %d", sum, s.Len())
	}
	for oid := range s.Without(seen) {
		seen.Add(oid)
	}
	if seen.Len() != s.Len() {
		t.Errorf("walks yielded %d of %d oids", seen.Len(), s.Len())
	}
}
