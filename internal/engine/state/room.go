package state

import (
	"fmt"
	"math"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Claim is the share of one transaction in the room and the memory: the promise to it, and its
// place in the line. The zero value has nothing. Its methods, and those of State that take it, are
// called by one goroutine at a time. Its fields are changed with State.mu held.
type Claim struct {
	promised Footprint
	memory   int64 // 0 for a small transaction
	mostOf   bool  // promised is no small part of the room
	// Of its place in the line:
	waits  obstacle      // when it asked last
	asked  time.Time     // the last time
	since  time.Time     // of its wait for others; zero: it does not wait for any
	waited time.Duration // for others, in all
}

// Covers reports whether as much was promised before, to a transaction that votes again. It
// keeps the promise then: it holds locks, and transactions with room may wait for them.
func (s *State) Covers(c *Claim, a Admission) bool {
	return a.Need.FitsInto(c.promised) && (!s.isLarge(a.Memory) || a.Memory <= c.memory)
}

// room is the knowledge about the room, and the memory, for the transactions in the journal.
type room struct {
	at    time.Time // when it was looked at; zero: never
	free  Footprint // on the file system
	limit Footprint // upper bound of the room of the whole journal
	// promised is the sum of the transactions that were let in and are not in the journal
	// yet; mostOf is that of those that are no small part of it.
	promised, mostOf Footprint
	memory           int64 // the sum of all promises of memory
	line             line
}

// promise notes that a transaction was let in. mu must be held.
func (s *State) promise(c *Claim, a Admission) {
	r := &s.room
	s.release(c, math.MaxInt64)
	mostOf := !r.fitsAsPart(s.index.room, a.Need)
	c.promised, c.mostOf = a.Need, mostOf
	if s.isLarge(a.Memory) {
		c.memory = a.Memory
	}
	r.promised = r.promised.plus(c.promised)
	r.memory += c.memory
	if mostOf {
		r.mostOf = r.mostOf.plus(c.promised)
	}
	r.line.moved = s.o.Clock()
}

// release takes back the promise of room to a transaction, and that of memory if it needs more.
// mu must be held.
func (s *State) release(c *Claim, memory int64) {
	r := &s.room
	if c.promised != (Footprint{}) || c.memory != 0 {
		r.line.moved = s.o.Clock()
	}
	r.promised = r.promised.minus(c.promised)
	if c.mostOf {
		r.mostOf = r.mostOf.minus(c.promised)
	}
	c.promised, c.mostOf = Footprint{}, false
	if c.memory < memory {
		r.memory -= c.memory
		c.memory = 0
	}
}

// SetRoom notes the free space at a moment, and the limit for the whole journal.
func (s *State) SetRoom(at time.Time, free, limit Footprint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.at, s.room.free, s.room.limit = at, free, limit
	if s.logFull == nil {
		return
	}
	if free.Bytes > s.logFullFree+moreForLog {
		s.logWorks()
	}
	s.logFullFree = min(s.logFullFree, free.Bytes)
}

// Release takes back the promise to a transaction.
func (s *State) Release(c *Claim) {
	if c.promised == (Footprint{}) && c.memory == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(c, math.MaxInt64)
}

// NeedsRoom reports whether a full disk keeps the flush from going on, or would: the
// unflushed transactions do not fit into the free space.
func (s *State) NeedsRoom(free Footprint) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return vfs.FaultOf(s.trouble.cause) == vfs.FullFault || !s.index.room.FitsInto(free)
}

// Owed is the footprint, once flushed, of all transactions in the journal or with a promise.
func (s *State) Owed() Footprint {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.room.plus(s.room.promised)
}

// RefuseCommits has commits refused until there is a reserve again, or room for one: the
// reserve was given up for the one that makes room.
func (s *State) RefuseCommits() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = s.o.HasReserve
}

// SetSpace notes which resource is low on the file system, and whether commits are
// refused because the rest is kept for a pack. It returns the previous notes.
func (s *State) SetSpace(low string, refuse bool) (wasLow string, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wasLow, refused = s.low, s.refuse
	s.low, s.refuse = low, refuse
	return wasLow, refused
}

// lookEvery is the greatest age of the knowledge about the room: somebody else may fill
// up the disk.
const lookEvery = 100 * time.Millisecond

// roomIsOld reports whether it is time to look for room again before that much more is let
// in: ten times a second, and when there is little, each time that it would be let in, or is the
// first that waits. mu must be held.
func (s *State) roomIsOld(c *Claim, need Footprint) bool {
	r := &s.room
	if r.at.IsZero() || s.o.Clock().Sub(r.at) >= lookEvery {
		return true
	}
	if s.index.room.plus(r.promised).plus(need).FitsInto(r.limit.part(1, 4)) {
		return false
	}
	return c.waits == obstacleNone || r.line.claims[0] == c || s.roomObstacle(need) == obstacleNone
}

// A transaction that was let in has its room until it is finished, and nobody knows when
// its client will do that. So the last part of the room is shared: each gets a small part of
// the rest of it, and there is always something for small ones.
const (
	keepPart   = 4        // a quarter of the limit is shared,
	keepBytes  = 64 << 20 // or so much,
	keepInodes = 16 << 10
	partOfLeft = 16 // and each gets a sixteenth of the rest
)

// keep is the part of the room that is shared.
func (r *room) keep() Footprint {
	return r.limit.part(1, keepPart).atMost(Footprint{keepBytes, keepInodes})
}

// fitsAsPart reports whether that much more is a small part of the rest, beside that footprint
// of the journal.
func (r *room) fitsAsPart(journal, need Footprint) bool {
	most := r.mostOf.atMost(r.limit.minus(r.keep())) // it may be more than the limit, see fits
	left := r.limit.minus(journal).minus(r.promised.minus(r.mostOf)).minus(most)
	return need.FitsInto(left.part(1, partOfLeft))
}

// fits reports whether that much more may come in beside so much in the journal. A transaction
// that is nearly alone may take up half of the free space: it is flushed at once.
func (r *room) fits(journal, need Footprint) bool {
	keep, others := r.keep(), journal.plus(r.promised)
	all := others.plus(need)
	return all.FitsInto(r.limit.minus(keep)) || r.fitsAsPart(journal, need) ||
		others.FitsInto(keep) && all.FitsInto(r.free.part(1, 2))
}

// roomObstacle returns the obstacle to a transaction in the room for the journal. mu must be
// held.
func (s *State) roomObstacle(need Footprint) obstacle {
	r := &s.room
	switch {
	case r.fits(s.index.room, need):
		return obstacleNone
	case r.promised == Footprint{} || r.fits(Footprint{}, need):
		return obstacleFlush
	}
	return obstaclePromises
}

// overfull reports whether the journal has to be flushed, because little is free.
// mu must be held.
func (s *State) overfull() bool {
	return !s.room.at.IsZero() && !s.index.room.FitsInto(s.room.limit)
}

// makeRoom has the steps in the order of the remedy of status: a pack of a full disk needs room itself.
const makeRoom = "make room: delete other files on this disk, or enlarge it; then pack"

// errReserved refuses commits where the rest of the space is kept for a pack.
func errReserved() error {
	return fmt.Errorf("%w: the rest is kept for a pack or a backup; %s", zodb.ErrDiskFull, makeRoom)
}

// errNoRoom says why a transaction is refused. mu must be held.
func (s *State) errNoRoom(need Footprint) error {
	free := s.room.free
	has, wants := human.Bytes(free.Bytes), human.Bytes(need.Bytes)
	if free.Inodes < Boundless().Inodes {
		has += " and " + human.Number(free.Inodes, "inode")
		wants += " and " + human.Number(need.Inodes, "inode")
	}
	others := ""
	if promised := s.room.promised; promised != (Footprint{}) {
		others = ", beside " + human.Bytes(promised.Bytes) + " of transactions that are to be finished"
	}
	return fmt.Errorf("%w: %s are free on the file system of HOME, and the files of the transaction take up to %s%s; %s", zodb.ErrDiskFull, has, wants, others, makeRoom)
}
