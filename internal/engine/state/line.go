package state

import (
	"fmt"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// obstacle is the reason of a wait in the line.
type obstacle uint8

const (
	obstacleNone     obstacle = iota
	obstacleTurn              // an earlier one waits, and would wait for ever if others passed it
	obstacleFlush             // published transactions are to be flushed
	obstaclePromises          // room was promised to others that are not published yet
	obstacleMemory            // memory was promised to others that are not published yet
)

// line holds the claims that wait, in order of arrival. If others passed the first one for
// ever, it would never find the room that it needs. If none passed it, one that waits for a
// client that does nothing would hold up everybody. So it is not passed for a moment, now
// and then.
type line struct {
	claims []*Claim
	closed time.Time // until then nobody passes the first one
	next   time.Time // from then on that can be so again
	moved  time.Time // when room or memory was promised or given back
}

// openPart is how much longer the line is open than closed.
const openPart = 10

// lastCheck is how many times less often than the first one those far behind in the line
// look whether they have come to their turn.
const lastCheck = 20

// A transaction waits for others that were let in for so many times Options.RetryInterval
// while none of them comes to its end, and so many times as long as some do. A holder of locks
// waits for one only: others that were let in may wait for its locks.
const (
	patience    = 20
	longestWait = 60
)

// close lets nobody pass the first one for a moment, if that has not been so lately.
func (l *line) close(now time.Time, moment time.Duration) {
	if len(l.claims) > 0 && !now.Before(l.next) {
		l.closed, l.next = now.Add(moment), now.Add(openPart*moment)
	}
}

// hasTurn reports whether a transaction need not wait for an earlier one in the line. A
// holder of locks does not: earlier ones may wait for its locks. Large transactions that wait
// for memory are not passed by large ones. mu must be held.
func (s *State) hasTurn(c *Claim, a Admission) bool {
	l := &s.room.line
	if len(l.claims) == 0 || l.claims[0] == c || a.HoldsLocks {
		return true
	}
	if s.o.Clock().Before(l.closed) {
		return false
	}
	if s.isLarge(a.Memory) {
		for _, earlier := range l.claims {
			if earlier == c {
				break
			}
			if earlier.waits == obstacleMemory {
				return false
			}
		}
	}
	return true
}

// obstacle returns the reason why a transaction has to wait. mu must be held.
func (s *State) obstacle(c *Claim, a Admission) obstacle {
	if !s.hasTurn(c, a) {
		return obstacleTurn
	}
	if o := s.roomObstacle(a.Need); o != obstacleNone {
		return o
	}
	return s.memoryObstacle(c, a.Memory)
}

// waitInLine handles a transaction that has to wait: the journal is flushed, and the
// transaction gets a place in the line. It is refused where it would wait in vain: nothing is left to
// flush, or cannot be, or it has waited for long enough for those that were let in. mu must be held.
func (s *State) waitInLine(c *Claim, a Admission, o obstacle) (time.Duration, error) {
	l, now := &s.room.line, s.o.Clock()
	if !slices.Contains(l.claims, c) {
		l.claims = append(l.claims, c)
		c.since, c.waited = time.Time{}, 0
	}
	c.meets(o, now)
	wait := gateCheck * time.Duration(min(lastCheck, 1+slices.Index(l.claims, c)))
	if o == obstacleTurn {
		return wait, nil
	}
	if o != obstacleMemory && l.claims[0] == c {
		l.close(now, s.o.RetryInterval)
	}
	if cause := s.trouble.cause; cause != nil {
		return 0, vfs.WithPassing(fmt.Errorf("transactions wait to be flushed: %w", cause))
	}
	if o == obstacleFlush && len(s.index.queue) == 0 || o != obstacleFlush && s.hasWaited(c, a, now) {
		return 0, s.errInVain(a, o)
	}
	s.flushTo = max(s.flushTo, s.last)
	s.Wake()
	return wait, nil
}

// meets notes the reason of the wait from now on. A wait for a flush does not count as a wait for
// others.
func (c *Claim) meets(o obstacle, now time.Time) {
	switch {
	case o == obstacleFlush:
		c.since = time.Time{}
	case !c.since.IsZero():
		c.waited += now.Sub(c.asked)
	case o != obstacleTurn:
		c.since = now
	}
	c.asked, c.waits = now, o
}

// hasWaited reports whether a transaction has waited for long enough for those that were let
// in. mu must be held.
func (s *State) hasWaited(c *Claim, a Admission, now time.Time) bool {
	if a.HoldsLocks {
		return c.waited > s.o.RetryInterval
	}
	moved := s.room.line.moved
	if c.since.After(moved) {
		moved = c.since
	}
	return now.After(moved.Add(patience*s.o.RetryInterval)) || c.waited > longestWait*s.o.RetryInterval
}

// errInVain says why a transaction is refused. mu must be held.
func (s *State) errInVain(a Admission, o obstacle) error {
	if o == obstacleMemory {
		return s.errNoMemory(a.Memory)
	}
	return s.errNoRoom(a.Need)
}

// LeaveLine is called when a transaction waits no more.
func (s *State) LeaveLine(c *Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.room.line
	i := slices.Index(l.claims, c)
	if i < 0 {
		return
	}
	l.claims = slices.Delete(l.claims, i, i+1)
	if i == 0 {
		now := s.o.Clock()
		l.closed = time.Time{}
		if c.promised != (Footprint{}) { // it has come in
			l.next = now
		}
		if len(l.claims) > 0 && l.claims[0].waits != obstacleMemory {
			l.close(now, s.o.RetryInterval)
		}
	}
	c.waits = obstacleNone
}
