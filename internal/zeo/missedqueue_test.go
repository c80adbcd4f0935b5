package zeo

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestLastChangeIsTheNewestInTheQueue compares the queue with a list of all changes, of transactions
// in any order of their objects.
func TestLastChangeIsTheNewestInTheQueue(t *testing.T) {
	t.Parallel()
	const limit, objects = 20, 30
	rnd := rand.New(rand.NewPCG(1, 2))
	m := newMissed(limit)
	var all []missedEntry
	m.add(1, nil)
	all = append(all, missedEntry{tid: 1})
	for tid := zodb.TID(2); tid < 200; tid++ {
		var oids []zodb.OID
		for range rnd.IntN(6) {
			if oid := zodb.OID(rnd.IntN(objects)); !slices.Contains(oids, oid) {
				oids = append(oids, oid)
			}
		}
		before := slices.Clone(oids)
		m.add(tid, sortedOIDs(oids))
		all = append(all, missedEntry{tid, oids})
		if !slices.Equal(oids, before) {
			t.Fatalf("the objects of a transaction were sorted in place: %v, and before %v", oids, before)
		}
		for since := max(1, tid-2*limit); since <= tid; since++ {
			for oid := range zodb.OID(objects) {
				want := zodb.TID(0)
				for _, e := range all {
					if e.tid > since && slices.Contains(e.oids, oid) {
						want = e.tid
					}
				}
				reaches := since > tid-limit
				if !reaches {
					want = 0
				}
				if got, known := m.lastChange(oid, since); got != want || known != reaches {
					t.Fatalf("after %d: object %d since %d: %d, %t; want %d, %t", tid, oid, since, got, known, want, reaches)
				}
			}
		}
	}
}

// TestTheQueueTakesTheMemoryOfItsObjects: a server keeps a million of them from its start on.
func TestTheQueueTakesTheMemoryOfItsObjects(t *testing.T) {
	m := newMissed(100)
	oids := make([]zodb.OID, 1000)
	tid := zodb.TID(0)
	for i := range oids {
		oids[i] = zodb.OID(i)
	}
	add := func() {
		tid++
		m.add(tid, sortedOIDs(oids))
	}
	for range 1000 { // the list of transactions has its size
		add()
	}
	if n := testing.AllocsPerRun(1000, add); n > 0.1 {
		t.Errorf("%g allocations for a transaction whose objects are in memory already", n)
	}
}
