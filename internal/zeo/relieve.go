package zeo

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
)

// errSlow is why a connection ends that does not go on where memory or files are short.
var errSlow = errors.New("the client takes or sends next to nothing, and others wait for the memory or the files that it has")

const (
	// slowTime is how long a client may take for any piece where the memory for waiting
	// frames is used up; for one of more bytes than slowest it has longer.
	slowTime = 2 * time.Second
	// relieveTime is how often it is looked whether there is memory again.
	relieveTime = 20 * time.Millisecond
)

// uploadTime is how long nothing may come of a blob where others have no file.
const uploadTime = 10 * time.Second

// relieve sees to it that slow clients do not use up the shared resources for long. It
// acts while the frames that wait to be read take more memory than there is, or somebody
// waits for memory for an answer, or for a file, and has none. Then the connections go that
// read too slowly, the one first that has most; and those that have begun a blob and send
// nothing. Who has some waits for itself; it looks again while somebody waits, because that can
// end. It does not block.
func (s *Server) relieve() {
	if !s.relieving.CompareAndSwap(false, true) {
		return
	}
	// The caller is a connection, or tells one, so that wait is not at its end.
	s.wait.Go(func() {
		defer s.relieving.Store(false)
		for s.ctx.Err() == nil {
			var c *conn
			switch {
			case s.budgets.queues.Overdrawn():
				c = s.slowest(func(c *conn) int64 { return c.has.queues.Held() })
			case s.budgets.files.Starving():
				c = s.slowest(func(c *conn) int64 { return c.has.files.Held() })
			case s.budgets.answers.Starving():
				c = s.slowest(func(c *conn) int64 { return c.has.answers.Held() })
			case s.wanting.Load() > 0 || s.unanswered.Load() > 0:
			default:
				return
			}
			if c != nil {
				c.end(errSlow)
				// Its resources are given back in a moment.
				for i := 0; i < 1000 && c.has.queues.Held()+c.has.files.Held()+c.has.answers.Held() > 0; i++ {
					s.pause(time.Millisecond)
				}
				continue
			}
			if s.o.relieved != nil {
				s.o.relieved()
			}
			s.pause(relieveTime)
		}
	})
}

// pause waits for a time, or until the server ends.
func (s *Server) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
}

// slowest returns the connection that has most of those that do not go on; nil: all do.
func (s *Server) slowest(has func(*conn) int64) *conn {
	now := s.o.Clock()
	return s.most(func(c *conn) int64 {
		n := has(c)
		if n > 0 && !c.out.slow(now) && !c.uploadStuck(now) {
			return 0
		}
		return n
	})
}

// uploadStuck reports whether the client has begun a blob and sends nothing.
func (c *conn) uploadStuck(now time.Time) bool {
	at := c.uploadAt.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) > uploadTime
}

// takeFile waits for a file for a blob.
func (c *conn) takeFile(ctx context.Context) error {
	return c.srv.takeRelieved(ctx, c.has.files, 1, &c.srv.wanting)
}

// takeAnswer waits for memory for an answer. Others may hold it while they wait for their
// client to read.
func (c *conn) takeAnswer(ctx context.Context, n int64) error {
	return c.srv.takeRelieved(ctx, c.has.answers, n, &c.srv.unanswered)
}

// takeRelieved takes n, and relieves while it waits.
func (s *Server) takeRelieved(ctx context.Context, share *budget.Share, n int64, waiting *atomic.Int64) error {
	if share.Try(n) {
		return nil
	}
	waiting.Add(1)
	defer waiting.Add(-1)
	s.relieve()
	return share.Take(ctx, n)
}

// slow reports whether the peer has taken the last piece for too long already.
func (o *outbox) slow(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writing && o.failed == nil && now.Sub(o.began) > max(slowTime, time.Duration(o.piece)*time.Second/slowest)
}

// reliefTime is how long a large answer waits at most: those that hold the memory then read
// fast enough to be left alone, and the caller must not wait for longer than clients do.
const reliefTime = 20 * time.Second

// awaitRelief waits, before an answer of n bytes is put into the outbox, until there is
// memory for the frames that wait to be read, or reliefTime has passed. Of few bytes it does
// not wait.
func (c *conn) awaitRelief(ctx context.Context, n int) error {
	if n <= c.out.few || !c.srv.budgets.queues.Overdrawn() {
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
