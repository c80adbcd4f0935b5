package check

import (
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// A history that ends at a missing revision has to be explained twice: by x.packed, which
// a pack sets before it removes anything, and by the transaction, as far as that is still
// there. It has to list the object, or the revision never was, and the link to it is wrong.
// Of a revision that both explain, nobody can tell a pack from loss: the Python original's
// pack also takes the revision that was current at x.packed, if it was replaced before the
// pack ran.

// packedAway reports whether a pack may have removed an older revision of an object, which is missing.
func (c *checker) packedAway(w *worker, oid zodb.OID, tid zodb.TID) bool {
	return tid < c.packed && !c.neverWritten(w, oid, tid)
}

// neverWritten reports whether there is a transaction that did not write an object. Of one
// that is missing or damaged, that is not known.
func (c *checker) neverWritten(w *worker, oid zodb.OID, tid zodb.TID) bool {
	l := c.listing(w, tid)
	return l.state == sound && !l.has(oid)
}

// listing is the objects that a transaction lists.
type listing struct {
	state state
	oids  []zodb.OID // ascending
}

func (l *listing) has(oid zodb.OID) bool {
	_, ok := slices.BinarySearch(l.oids, oid)
	return ok
}

// listings is a cache of them. After a pack many histories end at the same transactions.
type listings struct {
	room int // in bytes; the cache is emptied when it has more

	mu    sync.Mutex
	byTID map[zodb.TID]*listing // guarded by mu
	size  int                   // guarded by mu; in bytes, about
}

const (
	listingsRoom = 8 << 20 // in bytes, where the memory limit of the process is large
	listingSize  = 128     // of one without oids, with its place in the map
)

// listing reads it, where it was not read lately.
func (c *checker) listing(w *worker, tid zodb.TID) *listing {
	k := &c.listings
	k.mu.Lock()
	l := k.byTID[tid]
	k.mu.Unlock()
	if l != nil {
		return l
	}
	t, s, _ := c.readTransaction(w, tid)
	l = &listing{state: s, oids: slices.Sorted(slices.Values(t.oids))}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byTID == nil || k.size > k.room {
		k.byTID, k.size = make(map[zodb.TID]*listing), 0
	}
	k.byTID[tid] = l
	k.size += listingSize + 8*len(l.oids)
	return l
}
