package zeo

import (
	"context"
	"errors"
	"time"
)

// errSlow is why a connection ends that takes next to nothing where memory is short.
var errSlow = errors.New("the client reads too slowly what it is sent, and the memory for what waits to be read is used up")

const (
	// slowTime is how long a client may take for a piece of pieceBytes where the memory
	// for what waits is used up.
	slowTime = pieceBytes / slowest * time.Second
	// relieveTime is how often it is looked whether there is memory again.
	relieveTime = 20 * time.Millisecond
)

// relieve sees to it that what waits to be read does not have more memory than there is for
// long: while it has, the connections go that read too slowly, the one first that has most.
// It does not block.
func (s *Server) relieve() {
	if !s.relieving.CompareAndSwap(false, true) {
		return
	}
	// Who calls this is a connection, or tells one, so that wait is not at its end.
	s.wait.Go(func() {
		defer s.relieving.Store(false)
		for s.budgets.queues.Overdrawn() && s.ctx.Err() == nil {
			if c := s.slowestReader(); c != nil {
				c.end(errSlow)
				// What was being written is given back in a moment.
				for c.has.queues.Held() > 0 && s.pause() {
				}
				continue
			}
			s.pause()
		}
	})
}

// pause waits for relieveTime, and reports whether the server goes on.
func (s *Server) pause() bool {
	select {
	case <-time.After(relieveTime):
		return true
	case <-s.ctx.Done():
		return false
	}
}

// slowestReader returns the connection that has most of those that read too slowly; nil: none does.
func (s *Server) slowestReader() *conn {
	now := s.o.Clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *conn
	most := int64(0)
	for c := range s.conns {
		if n := c.has.queues.Held(); n > most && c.out.slow(now) {
			found, most = c, n
		}
	}
	return found
}

// slow reports whether the peer has taken the last piece for too long already.
func (o *outbox) slow(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writing && o.failed == nil && now.Sub(o.began) > slowTime
}

// reliefTime is how long a large answer waits at most: those that hold the memory then read
// fast enough to be left alone, and whoever asks must not wait for longer than clients do.
const reliefTime = 20 * time.Second

// awaitRelief waits, before an answer of n bytes is put into the outbox, until there is
// memory for what waits to be read, or reliefTime has passed. What is small does not wait.
func (c *conn) awaitRelief(ctx context.Context, n int) error {
	if n < largeBytes || !c.srv.budgets.queues.Overdrawn() {
		return ctx.Err()
	}
	timeout := time.NewTimer(reliefTime)
	defer timeout.Stop()
	for c.srv.budgets.queues.Overdrawn() {
		c.srv.relieve()
		select {
		case <-time.After(relieveTime):
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
