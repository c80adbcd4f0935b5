package state

import (
	"fmt"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Claim is the share of one transaction in the room: the promise to it, and its place in the
// line. The zero value has nothing. Its methods, and those of State that take it, are called
// by one goroutine at a time.
type Claim struct {
	promised Footprint // changed with State.mu held
}

// Covers reports whether as much was promised before, to a transaction that votes again. It
// keeps the promise then: it holds locks, and transactions with room may wait for them.
func (c *Claim) Covers(need Footprint) bool { return need.FitsInto(c.promised) }

// room is the knowledge about the room for the transactions in the journal.
type room struct {
	at    time.Time // when it was looked at; zero: never
	free  Footprint // on the file system
	limit Footprint // upper bound of the room of the whole journal
	// promised is the sum of the transactions that were let in and are not in the journal
	// yet.
	promised Footprint
	// line holds the claims that wait for room, in order of arrival.
	line []*Claim
	// patience is how long the first of them waits for those that were let in.
	patience time.Time
}

// promise notes that a transaction was let in.
func (r *room) promise(c *Claim, need Footprint) {
	r.release(c)
	c.promised = need
	r.promised = r.promised.plus(need)
}

// release takes back the promise to a transaction.
func (r *room) release(c *Claim) {
	r.promised = r.promised.minus(c.promised)
	c.promised = Footprint{}
}

// hasTurn reports whether no earlier transaction waits for room: if small transactions
// passed a large one, it would wait for ever. A holder of locks is let pass: earlier ones
// may wait for its locks.
func (r *room) hasTurn(c *Claim, holdsLocks bool) bool {
	return len(r.line) == 0 || r.line[0] == c || holdsLocks
}

// SetRoom notes the free space at a moment, and the limit for the whole journal.
func (s *State) SetRoom(at time.Time, free, limit Footprint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.at, s.room.free, s.room.limit = at, free, limit
}

// Release takes back the promise to a transaction.
func (s *State) Release(c *Claim) {
	if c.promised == (Footprint{}) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.release(c)
}

// LeaveLine is called when a transaction waits for room no more.
func (s *State) LeaveLine(c *Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.room
	if i := slices.Index(r.line, c); i >= 0 {
		r.line = slices.Delete(r.line, i, i+1)
		if i == 0 {
			r.patience = s.o.Clock().Add(s.o.RetryInterval)
		}
	}
}

// NeedsRoom reports whether a full disk keeps the flush from going on, or would: the
// unflushed transactions do not fit into the free space.
func (s *State) NeedsRoom(free Footprint) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return vfs.FaultOf(s.trouble.cause) == vfs.FullFault || !s.index.room.FitsInto(free)
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
// in: ten times a second, and always when there is little. mu must be held.
func (s *State) roomIsOld(need Footprint) bool {
	r := &s.room
	all := s.index.room.plus(r.promised).plus(need)
	return r.at.IsZero() || s.o.Clock().Sub(r.at) >= lookEvery || !all.FitsInto(r.limit.part(1, 4))
}

// hasRoom reports whether that much more may come into the journal. A transaction that is
// alone there may take up half of the free space: it is flushed at once. mu must be held.
func (s *State) hasRoom(need Footprint) bool {
	r := &s.room
	if all := s.index.room.plus(r.promised); all != (Footprint{}) {
		return all.plus(need).FitsInto(r.limit)
	}
	return need.FitsInto(r.limit) || need.FitsInto(r.free.part(1, 2))
}

// overfull reports whether the journal has to be flushed, because little is free.
// mu must be held.
func (s *State) overfull() bool {
	return !s.room.at.IsZero() && !s.index.room.FitsInto(s.room.limit)
}

// waitForRoom handles a transaction for which there is no room, or no memory, beside the journal:
// that is flushed, and the transaction gets a place in the line. It waits in vain where nothing is
// left to flush, or cannot be. mu must be held.
func (s *State) waitForRoom(c *Claim, need Footprint, holdsLocks bool) (time.Duration, error) {
	r := &s.room
	if !slices.Contains(r.line, c) {
		r.line = append(r.line, c)
		if len(r.line) == 1 {
			r.patience = s.o.Clock().Add(s.o.RetryInterval)
		}
	}
	if !r.hasTurn(c, holdsLocks) {
		return gateCheck, nil
	}
	if cause := s.trouble.cause; cause != nil {
		return 0, vfs.WithPassing(fmt.Errorf("transactions wait to be flushed: %w", cause))
	}
	if len(s.index.queue) == 0 && (r.promised == (Footprint{}) || s.o.Clock().After(r.patience)) {
		return 0, s.errNoRoom(need)
	}
	s.flushTo = max(s.flushTo, s.last)
	s.Wake()
	return gateCheck, nil
}

// errReserved refuses commits where the rest of the space is kept for a pack.
func errReserved() error {
	return fmt.Errorf("%w: the rest is kept for a pack or a backup; make room, or pack", zodb.ErrDiskFull)
}

// errNoRoom says why a transaction is refused. mu must be held.
func (s *State) errNoRoom(need Footprint) error {
	free := s.room.free
	has, wants := human.Bytes(free.Bytes), human.Bytes(need.Bytes)
	if free.Inodes < Boundless().Inodes {
		has += " and " + human.Count(free.Inodes) + " inodes"
		wants += " and " + human.Count(need.Inodes) + " inodes"
	}
	others := ""
	if promised := s.room.promised; promised != (Footprint{}) {
		others = ", beside " + human.Bytes(promised.Bytes) + " of transactions that are to be finished"
	}
	return fmt.Errorf("%w: %s are free on the file system of HOME, and the files of the transaction take up to %s%s; make room, or pack", zodb.ErrDiskFull, has, wants, others)
}
