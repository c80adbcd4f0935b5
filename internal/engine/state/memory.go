package state

import (
	"context"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/zodb"
)

// Transactions in the journal take up memory until they are flushed; see [Memory]. Published
// transactions count, and the promises to large ones that are not published yet. Small
// ones are not held up by such promises: a client that has voted for a large transaction, and does
// not finish it, would slow down everybody.

// smallMemory is the part of the memory below which a transaction is small.
const smallMemory = 64

// memoryLimit is how much memory unflushed transactions may take up.
func (s *State) memoryLimit() int64 { return int64(s.o.Journal.Backlog+1) * s.o.LogMemory }

// isLarge reports whether memory is promised to a transaction that takes so much.
func (s *State) isLarge(memory int64) bool { return memory >= s.memoryLimit()/smallMemory }

// memoryUsed is the part of used that is about memory. That is held until the end of a
// flush, so its progress does not count. mu must be held.
func (s *State) memoryUsed() float64 { return float64(s.index.memory) / float64(s.memoryLimit()) }

// memoryObstacle returns the obstacle to a transaction in the memory for unflushed
// transactions. One that is larger than all of it comes in when hardly anything else is
// there. mu must be held.
func (s *State) memoryObstacle(c *Claim, need int64) obstacle {
	limit, promised := s.memoryLimit(), int64(0)
	switch {
	case s.isLarge(need):
		if c.memory >= need { // promised to an earlier vote
			return obstacleNone
		}
		promised = s.room.memory - c.memory
	case len(s.index.queue) == 0:
		return obstacleNone
	}
	switch {
	case s.index.memory+promised+need <= limit, promised == 0 && s.index.memory <= limit/8:
		return obstacleNone
	case promised != 0 && promised+need > limit:
		return obstacleMemory
	}
	return obstacleFlush
}

// WaitForMemory waits while the memory for unflushed transactions is used up, until ctx
// ends. It does not wait while the flush is in trouble, or nothing can be written.
func (s *State) WaitForMemory(ctx context.Context) error {
	return s.waitUntil(ctx, func() (bool, error) {
		return s.memoryUsed() < 1 || s.trouble.cause != nil || s.writable() != nil, nil
	})
}

// errNoMemory says why a transaction is refused. mu must be held.
func (s *State) errNoMemory(need int64) error {
	return fmt.Errorf("%w: the transaction takes up about %s of memory until it is flushed, of %s for all, beside %s of others that were voted for and are not finished; try it again later",
		zodb.ErrScarce, human.Bytes(need), human.Bytes(s.memoryLimit()), human.Bytes(s.room.memory))
}
