package oidset_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAddAllIsAddOfEach compares the two, where there is room for all, for some and for none.
func TestAddAllIsAddOfEach(t *testing.T) {
	t.Parallel()
	for seed := range uint64(24) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		limit := []int64{enough, 200 << 10, 4 << 10, 0}[seed%4]
		spread := []uint64{1 << 12, 1 << 18, 1 << 40}[seed%3]
		many, each := oidset.New(limit), oidset.New(limit)
		var all []zodb.OID
		without := make(map[zodb.OID]bool)
		for range 8 {
			var oids []zodb.OID
			for range rnd.IntN(2000) {
				oids = append(oids, zodb.OID(rnd.Uint64N(spread)))
			}
			all = append(all, oids...)
			for _, oid := range oids {
				each.Add(oid)
			}
			left := many.AddAll(oids)
			if !slices.IsSorted(left) {
				t.Fatalf("seed %d: what was left is out of order", seed)
			}
			for _, oid := range left {
				without[oid] = true
				if many.Has(oid) {
					t.Fatalf("seed %d: %s was left, and is in the set", seed, oid)
				}
			}
		}
		for _, oid := range all {
			if !many.Has(oid) && !without[oid] {
				t.Fatalf("seed %d: %s is neither in the set nor left", seed, oid)
			}
		}
		if limit == enough && len(without) > 0 || limit == 0 && many.Len() > 0 {
			t.Errorf("seed %d: limit %d: %d oids are in the set, %d were left", seed, limit, many.Len(), len(without))
		}
		if a, b := many.Len(), each.Len(); a < b*9/10 || a > b*11/10+10 {
			t.Errorf("seed %d: limit %d: %d oids found room, one by one %d", seed, limit, a, b)
		}
	}
}
