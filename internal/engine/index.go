package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// committed is a transaction that is in the log and not yet in A or B.
type committed struct {
	journal.Committed
	objects []*record.Object // those of Records, where they are in memory; nil = they are not
	at      time.Time        // when it was published
	bytes   int64            // of data
	room    footprint        // what its files take up at most
}

// files is the number of files that its flush makes at most.
func (c *committed) files() int {
	n := 3 // its own, x.oid, x.serial
	for i := range c.Records {
		n += 2
		if c.Records[i].Blob {
			n++
		}
	}
	return n
}

// memory is how many bytes of memory it takes, beside records.
func (c *committed) memory() int64 {
	const own, each = 300, 250 // a transaction, and what the index has of a revision
	return own + each*int64(len(c.Records)) + int64(len(c.Meta.User)+len(c.Meta.Description)+len(c.Meta.Extension))
}

// revisionInLog is one revision that is in the log and not yet in A or B.
type revisionInLog struct {
	tid    zodb.TID
	entry  *journal.Entry
	object *record.Object // nil: it has to be read
}

// unflushed is the index over what was published and is not flushed yet. Its
// size is bounded by the flush thresholds and the backlog. Storage.mu guards it.
type unflushed struct {
	queue []*committed // in the order of their tids
	byOID map[zodb.OID][]revisionInLog
	files int
	bytes int64
	room  footprint // what the files take up at most

	memory  int64  // of all but the records
	kept    int64  // bytes of data in memory
	keep    int64  // limit of that
	minimal bool   // class Minimal
	counts  Counts // what all of it adds to the counts of what is flushed
}

// after reports whether all that is left is later than a transaction.
func (u *unflushed) after(tid zodb.TID) bool {
	return len(u.queue) == 0 || u.queue[0].TID > tid
}

func (u *unflushed) add(c *committed) {
	if u.byOID == nil {
		u.byOID = make(map[zodb.OID][]revisionInLog)
	}
	u.queue = append(u.queue, c)
	u.files += c.files()
	u.bytes += c.bytes
	u.room = u.room.plus(c.room)
	u.memory += c.memory()
	u.counts.combine(c.counts(!u.minimal), 1)
	if u.kept+c.bytes > u.keep {
		c.objects = nil
	}
	if c.objects != nil {
		u.kept += c.bytes
	}
	for i := range c.Records {
		r := revisionInLog{tid: c.TID, entry: &c.Records[i]}
		if c.objects != nil {
			r.object = c.objects[i]
		}
		u.byOID[r.entry.OID] = append(u.byOID[r.entry.OID], r)
	}
}

// drop forgets the first n transactions.
func (u *unflushed) drop(n int) {
	for _, c := range u.queue[:n] {
		u.files -= c.files()
		u.bytes -= c.bytes
		u.room = u.room.minus(c.room)
		u.memory -= c.memory()
		if c.objects != nil {
			u.kept -= c.bytes
		}
		u.counts.combine(c.counts(!u.minimal), -1)
		for i := range c.Records {
			oid := c.Records[i].OID
			if revs := u.byOID[oid]; len(revs) > 1 {
				revs[0] = revisionInLog{} // the array lives on
				u.byOID[oid] = revs[1:]
			} else {
				delete(u.byOID, oid)
			}
		}
	}
	if len(u.byOID) == 0 {
		u.byOID = nil // an empty map keeps the memory of what was in it
	}
	clear(u.queue[:n])
	u.queue = u.queue[n:]
}

// current returns the newest revision, if the log has it.
func (u *unflushed) current(oid zodb.OID) (revisionInLog, bool) {
	revs := u.byOID[oid]
	if len(revs) == 0 {
		return revisionInLog{}, false
	}
	return revs[len(revs)-1], true
}

// revision returns the revision that a transaction stored, if the log has it.
func (u *unflushed) revision(oid zodb.OID, tid zodb.TID) (revisionInLog, bool) {
	for _, r := range u.byOID[oid] {
		if r.tid == tid {
			return r, true
		}
	}
	return revisionInLog{}, false
}

// transaction returns a transaction, if the log has it.
func (u *unflushed) transaction(tid zodb.TID) *committed {
	i, ok := slices.BinarySearchFunc(u.queue, tid, func(c *committed, tid zodb.TID) int { return cmp.Compare(c.TID, tid) })
	if !ok {
		return nil
	}
	return u.queue[i]
}
