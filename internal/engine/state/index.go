package state

import (
	"cmp"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// Committed is a transaction that is in the journal and not yet in A or B. It does not
// change once it is published.
type Committed struct {
	journal.Committed
	Objects []*record.Object // those of Records, where they are in memory; nil: they are not
	At      time.Time        // when it was published
	Bytes   int64            // of data
	Work    int              // of its flush, at most; see store.Cost
	Room    Footprint        // what its files take up at most
}

// Measure sets Bytes, Work and Room; cost is that of the store.
func (c *Committed) Measure(cost func(store.Outline) store.Cost) {
	of := cost(Outline(&c.Meta, len(c.Records), func(yield func(size int64, first, blob bool)) {
		for i := range c.Records {
			e := &c.Records[i]
			yield(e.Len, e.Previous == 0, e.Blob)
		}
	}))
	c.Work, c.Room = of.Work, FootprintOf(of)
	for i := range c.Records {
		c.Bytes += c.Records[i].Len
	}
}

// Follows reports whether it is the next transaction after last.
func (c *Committed) Follows(last zodb.TID) bool { return c.TID > last && c.Previous == last }

// File returns the transaction file that the flush writes.
func (c *Committed) File() *record.Transaction {
	oids := make([]zodb.OID, len(c.Records))
	for i := range c.Records {
		oids[i] = c.Records[i].OID
	}
	return &record.Transaction{TID: c.TID, Previous: c.Previous, Packed: c.Packed,
		User: c.Meta.User, Description: c.Meta.Description, Extension: c.Meta.Extension, OIDs: oids}
}

// Revision returns the i-th of its records.
func (c *Committed) Revision(i int) Revision {
	r := Revision{TID: c.TID, Entry: &c.Records[i]}
	if c.Objects != nil {
		r.Object = c.Objects[i]
	}
	return r
}

// memory is how many bytes of memory it takes, beside records.
func (c *Committed) memory() int64 {
	const own, each = 300, 250 // a transaction, and what the index has of a revision
	return own + each*int64(len(c.Records)) + int64(len(c.Meta.User)+len(c.Meta.Description)+len(c.Meta.Extension))
}

// Revision is one revision that is in the journal and not yet in A or B.
type Revision struct {
	TID    zodb.TID
	Entry  *journal.Entry
	Object *record.Object // nil: it has to be read
}

// index holds what was published and is not flushed yet. Its size is bounded by the
// thresholds of the flush and the backlog.
type index struct {
	queue []*Committed // in the order of their tids
	byOID map[zodb.OID][]Revision
	files int
	bytes int64
	room  Footprint // what the files take up at most

	memory  int64       // of all but the records
	kept    int64       // bytes of data in memory
	keep    int64       // limit of that
	minimal bool        // class Minimal
	counts  zodb.Counts // what all of it adds to the counts of what is flushed
}

// after reports whether all that is left is later than a transaction.
func (x *index) after(tid zodb.TID) bool {
	return len(x.queue) == 0 || x.queue[0].TID > tid
}

func (x *index) add(c *Committed) {
	if x.byOID == nil {
		x.byOID = make(map[zodb.OID][]Revision)
	}
	x.queue = append(x.queue, c)
	x.files += c.Work
	x.bytes += c.Bytes
	x.room = x.room.Plus(c.Room)
	x.memory += c.memory()
	Combine(&x.counts, c.counts(!x.minimal), 1)
	if x.kept+c.Bytes > x.keep {
		c.Objects = nil
	}
	if c.Objects != nil {
		x.kept += c.Bytes
	}
	for i := range c.Records {
		oid := c.Records[i].OID
		x.byOID[oid] = append(x.byOID[oid], c.Revision(i))
	}
}

// drop forgets the first n transactions.
func (x *index) drop(n int) {
	for _, c := range x.queue[:n] {
		x.files -= c.Work
		x.bytes -= c.Bytes
		x.room = x.room.Minus(c.Room)
		x.memory -= c.memory()
		if c.Objects != nil {
			x.kept -= c.Bytes
		}
		Combine(&x.counts, c.counts(!x.minimal), -1)
		for i := range c.Records {
			oid := c.Records[i].OID
			if revs := x.byOID[oid]; len(revs) > 1 {
				revs[0] = Revision{} // the array lives on
				x.byOID[oid] = revs[1:]
			} else {
				delete(x.byOID, oid)
			}
		}
	}
	if len(x.byOID) == 0 {
		x.byOID = nil // an empty map keeps the memory of what was in it
	}
	clear(x.queue[:n])
	x.queue = x.queue[n:]
}

// current returns the newest revision, if the journal has it.
func (x *index) current(oid zodb.OID) (Revision, bool) {
	revs := x.byOID[oid]
	if len(revs) == 0 {
		return Revision{}, false
	}
	return revs[len(revs)-1], true
}

// revision returns the revision that a transaction stored, if the journal has it.
func (x *index) revision(oid zodb.OID, tid zodb.TID) (Revision, bool) {
	for _, r := range x.byOID[oid] {
		if r.TID == tid {
			return r, true
		}
	}
	return Revision{}, false
}

// transaction returns a transaction, if the journal has it.
func (x *index) transaction(tid zodb.TID) *Committed {
	i, ok := slices.BinarySearchFunc(x.queue, tid, func(c *Committed, tid zodb.TID) int { return cmp.Compare(c.TID, tid) })
	if !ok {
		return nil
	}
	return x.queue[i]
}
