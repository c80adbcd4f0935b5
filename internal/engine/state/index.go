package state

import (
	"cmp"
	"iter"
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
	Room    Footprint        // upper bound of the space of its files
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

// Memory estimates the bytes of memory that a transaction of N records takes until it is
// flushed, beside its data: its journal.Entry, and its place in the index. Records that are in
// memory have a part beside their data.
func Memory(meta *zodb.TxnMeta, records int, inMemory bool) int64 {
	own, each := int64(300), int64(160)
	if inMemory {
		each += 100 // a record.Object, and the pointer to it
	}
	return own + each*int64(records) + int64(len(meta.User)+len(meta.Description)+len(meta.Extension))
}

// memory is Memory of it.
func (c *Committed) memory() int64 { return Memory(&c.Meta, len(c.Records), c.Objects != nil) }

// Revision is one revision that is in the journal and not yet in A or B.
type Revision struct {
	TID    zodb.TID
	Entry  *journal.Entry
	Object *record.Object // nil: it has to be read
}

// index holds the transactions that are published and not flushed yet. Its size is
// bounded by the thresholds of the flush and the backlog.
type index struct {
	queue []*Committed // in the order of their tids
	first uint32       // the number of the first one of queue; they are counted
	// Each object with unflushed revisions is in one of these. There may be a hundred thousand that
	// have one revision, so that takes little.
	one  map[zodb.OID]place
	many map[zodb.OID][]Revision // in the order of their tids

	files int
	bytes int64
	room  Footprint // upper bound of the space of the files

	memory  int64       // of all but the records
	kept    int64       // bytes of data in memory
	keep    int64       // limit of that
	minimal bool        // class Minimal
	counts  zodb.Counts // of all of it, to be added to the flushed counts
}

// place is where a revision is in the queue.
type place struct {
	txn    uint32 // number of its transaction
	record uint32 // in Records of that
}

func (x *index) at(p place) Revision { return x.queue[p.txn-x.first].Revision(int(p.record)) }

// of returns the revisions of an object, in the order of their tids. The caller has the memory
// for one.
func (x *index) of(oid zodb.OID, one *[1]Revision) []Revision {
	if p, ok := x.one[oid]; ok {
		one[0] = x.at(p)
		return one[:]
	}
	return x.many[oid]
}

// oids yields all objects.
func (x *index) oids() iter.Seq[zodb.OID] {
	return func(yield func(zodb.OID) bool) {
		for oid := range x.one {
			if !yield(oid) {
				return
			}
		}
		for oid := range x.many {
			if !yield(oid) {
				return
			}
		}
	}
}

// after reports whether all that is left is later than a transaction.
func (x *index) after(tid zodb.TID) bool {
	return len(x.queue) == 0 || x.queue[0].TID > tid
}

func (x *index) add(c *Committed) {
	if x.one == nil {
		x.one, x.many = make(map[zodb.OID]place), make(map[zodb.OID][]Revision)
	}
	number := x.first + uint32(len(x.queue))
	x.queue = append(x.queue, c)
	x.files += c.Work
	x.bytes += c.Bytes
	x.room = x.room.plus(c.Room)
	Combine(&x.counts, c.counts(!x.minimal), 1)
	if x.kept+c.Bytes > x.keep {
		c.Objects = nil
	}
	x.memory += c.memory()
	if c.Objects != nil {
		x.kept += c.Bytes
	}
	for i := range c.Records {
		oid := c.Records[i].OID
		if p, ok := x.one[oid]; ok {
			delete(x.one, oid)
			x.many[oid] = []Revision{x.at(p), c.Revision(i)}
		} else if revs, ok := x.many[oid]; ok {
			x.many[oid] = append(revs, c.Revision(i))
		} else {
			x.one[oid] = place{number, uint32(i)}
		}
	}
}

// drop forgets the first n transactions.
func (x *index) drop(n int) {
	for _, c := range x.queue[:n] {
		x.files -= c.Work
		x.bytes -= c.Bytes
		x.room = x.room.minus(c.Room)
		x.memory -= c.memory()
		if c.Objects != nil {
			x.kept -= c.Bytes
		}
		Combine(&x.counts, c.counts(!x.minimal), -1)
		for i := range c.Records {
			oid := c.Records[i].OID
			if revs := x.many[oid]; len(revs) > 1 {
				revs[0] = Revision{} // the array lives on
				x.many[oid] = revs[1:]
			} else if revs != nil {
				delete(x.many, oid)
			} else {
				delete(x.one, oid)
			}
		}
	}
	if len(x.one) == 0 && len(x.many) == 0 {
		x.one, x.many = nil, nil // an empty map keeps the memory of its former entries
	}
	x.first += uint32(n)
	clear(x.queue[:n])
	x.queue = x.queue[n:]
}

// current returns the newest revision, if the journal has it.
func (x *index) current(oid zodb.OID) (Revision, bool) {
	var one [1]Revision
	revs := x.of(oid, &one)
	if len(revs) == 0 {
		return Revision{}, false
	}
	return revs[len(revs)-1], true
}

// revision returns the revision that a transaction stored, if the journal has it.
func (x *index) revision(oid zodb.OID, tid zodb.TID) (Revision, bool) {
	var one [1]Revision
	for _, r := range x.of(oid, &one) {
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
