package zeo

import (
	"fmt"
	"sync/atomic"
	"time"
)

// sending is what others may know of what a client sends for its transaction. The reader of the
// connection writes it.
type sending struct {
	last  atomic.Int64 // nanoseconds since 1970 when the last of it came; 0: the server works on it
	bytes atomic.Int64 // all of it
}

// work notes that it is not the client who is waited for.
func (s *sending) work() { s.last.Store(0) }

// came notes that so many bytes came, and that more is waited for.
func (s *sending) came(now time.Time, n int64) {
	s.bytes.Add(n)
	s.last.Store(now.UnixNano())
}

// silent returns for how long nothing has come.
func (s *sending) silent(now time.Time) time.Duration {
	last := s.last.Load()
	if last == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, last))
}

// A client whose transaction others wait for sends piece bytes in each LargeTransactionTimeout,
// on the average of patient of them.
const (
	idlePiece   = 64 << 10
	idlePatient = 4
)

// errIdle is why the connection of a transaction ends that does not go on.
type errIdle struct {
	limit time.Duration
	slow  bool
}

func (e *errIdle) Error() string {
	what := fmt.Sprintf("nothing came of it for %s", e.limit)
	if e.slow {
		what = fmt.Sprintf("less than %d bytes of it came in each %s", idlePiece, e.limit)
	}
	return fmt.Sprintf("the large transaction of this client was aborted, because %s while others waited for the memory that it had: send faster what belongs to it, or raise large-transaction-timeout", what)
}

// watch is what a vote that waits for memory has seen of the one who has the turn.
type watch struct {
	begun time.Time // when the wait began
	c     *conn     // who has the turn
	x     *txn
	since time.Time // since when c could have sent something, and was looked at
	bytes int64     // c.sends.bytes at that time
}

// endIdle ends the connection that a vote waits for if nothing comes of its transaction: that of
// the transaction whose turn it is; and if that is the one which waits, one that has memory which
// others could have.
func (s *Server) endIdle(w *watch, x *txn) {
	limit, now := s.o.LargeTransactionTimeout, s.o.Clock()
	if limit <= 0 {
		return
	}
	c, holder := s.budgets.large.whose()
	if holder != nil && holder != x {
		if err := w.look(c, holder, now, limit); err != nil {
			s.o.Observer.Refused("timeout")
			c.end(err)
		}
		return
	}
	idle := s.most(func(c *conn) int64 {
		if !c.sendsNothing(nil, w.begun, now, limit) {
			return 0
		}
		return c.has.steps.Shared()
	})
	if idle != nil {
		s.o.Observer.Refused("timeout")
		idle.end(&errIdle{limit: limit})
	}
}

// look returns why the connection has to end that has the turn; nil: it has not to.
func (w *watch) look(c *conn, x *txn, now time.Time, limit time.Duration) error {
	bytes := c.sends.bytes.Load()
	if w.x != x || !c.waitsForClient(x) {
		w.c, w.x, w.since, w.bytes = c, x, now, bytes
		return nil
	}
	if c.sendsNothing(x, w.begun, now, limit) {
		return &errIdle{limit: limit}
	}
	if windows := int64(now.Sub(w.since) / limit); windows >= idlePatient && bytes-w.bytes < windows*idlePiece {
		return &errIdle{limit: limit, slow: true}
	}
	return nil
}

// waitsForClient reports whether a transaction is open, the one that is named unless that is nil,
// which has no locks, whose vote goes on as soon as the client has sent the rest.
func (c *conn) waitsForClient(x *txn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.txn != nil && (x == nil || c.txn == x) && c.txn.state == txnBegun && !c.txn.held && c.sends.last.Load() != 0
}

// sendsNothing reports whether nothing came for a while of such a transaction, while somebody
// waited.
func (c *conn) sendsNothing(x *txn, waiting, now time.Time, limit time.Duration) bool {
	return c.waitsForClient(x) && min(c.sends.silent(now), now.Sub(waiting)) >= limit
}

// most returns the connection that has most; nil: none has any.
func (s *Server) most(has func(*conn) int64) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *conn
	most := int64(0)
	for c := range s.conns {
		if n := has(c); n > most {
			found, most = c, n
		}
	}
	return found
}
