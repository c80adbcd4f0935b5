package txn

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestOperationsHaveTheirPlace compares operations with a map and a list, over the sizes at
// which a chunk or the index grows.
func TestOperationsHaveTheirPlace(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		n := []int{3, 12, 40, 1100, 5000}[seed%5]
		var o operations
		want := make(map[zodb.OID]zodb.TID)
		var order []zodb.OID
		for i := range n {
			oid := zodb.OID(rnd.IntN(n)) << (8 * (seed % 7))
			if o.get(oid) == nil != !slices.Contains(order, oid) && len(order) < 50 {
				t.Fatalf("seed %d: object %s is not as it was left", seed, oid)
			}
			if _, again := want[oid]; !again {
				order = append(order, oid)
			}
			want[oid] = zodb.TID(i)
			o.put(oid, operation{serial: zodb.TID(i)})
		}
		if o.n != len(want) || !slices.Equal(o.oids(), order) {
			t.Fatalf("seed %d: %d operations in another order than they came, want %d", seed, o.n, len(want))
		}
		for i, oid := range order {
			if op := o.get(oid); op == nil || op.oid != oid || op.serial != want[oid] || op != o.at(i) {
				t.Fatalf("seed %d: the operation on %s is %+v, want serial %s, number %d", seed, oid, op, want[oid], i)
			}
		}
		if op := o.get(1<<63 + 1); op != nil {
			t.Fatalf("seed %d: an operation on an object that has none: %+v", seed, op)
		}
	}
}
