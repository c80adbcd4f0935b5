package oidset

import (
	"math/rand/v2"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

func TestOIDSetHoldsWhatWasAdded(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	s, other := New(1<<20), New(1<<20)
	in := make(map[zodb.OID]bool)
	for range 20_000 {
		oid := zodb.OID(random.Uint64N(100_000))
		ok, fresh := s.Add(oid)
		if !ok || fresh == in[oid] {
			t.Fatalf("add(%s) = %v, %v, but in = %v", oid, ok, fresh, in[oid])
		}
		in[oid] = true
		if oid%3 == 0 {
			other.Add(oid)
		}
	}
	last := zodb.OID(0)
	for oid := range s.Without(other) {
		if !in[oid] || oid%3 == 0 || oid <= last {
			t.Fatalf("without yields %s after %s", oid, last)
		}
		last = oid
		delete(in, oid)
	}
	for oid := range in {
		if oid%3 != 0 {
			t.Fatalf("without does not yield %s", oid)
		}
	}
}

func TestOIDSetStaysWithinItsMemory(t *testing.T) {
	t.Parallel()
	s := New(3 * pageBits / 8)
	room := 0
	for i := range 1000 {
		if ok, _ := s.Add(zodb.OID(i) << 40); ok {
			room++
		}
	}
	if room != 3 {
		t.Errorf("%d pages, want 3", room)
	}
	if s.Has(999<<40) || !s.Has(0) {
		t.Error("has does not tell what was added")
	}
}
