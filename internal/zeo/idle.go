package zeo

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/stage"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

// sending is the public knowledge about the messages of a client for its transaction. The
// reader of the connection writes it.
type sending struct {
	last  atomic.Int64 // nanoseconds since 1970 when the last of it came; 0: the server works on it
	bytes atomic.Int64 // all of it
}

// work notes that nothing waits for the client.
func (s *sending) work() { s.last.Store(0) }

// came notes that n bytes came, and that more is waited for.
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

// watch is the knowledge of a vote that waits for memory about the transaction that has
// the turn.
type watch struct {
	begun  time.Time     // when the wait began
	x      *txn          // has the turn
	bytes  int64         // of c.sends when that was seen first
	looked time.Time     // the last time
	could  time.Duration // for how long the server has waited for its client since then
}

// endIdle ends the transaction that a vote waits for if nothing comes of it: that whose turn it
// is; and if it is that of the one which waits, one that has memory which others could have.
func (s *Server) endIdle(seen *watch, x *txn) {
	limit, now := s.o.LargeTransactionTimeout, s.o.Clock()
	if limit <= 0 {
		return
	}
	c, holder := s.budgets.large.whose()
	if holder != nil && holder != x {
		if why := seen.look(c, holder, now, limit); why != "" {
			c.endTxn(holder, why, limit)
		}
		return
	}
	idle := s.most(func(c *conn) int64 {
		if !c.sendsNothing(c.open(), seen.begun, now, limit) {
			return 0
		}
		return c.has.steps.Shared()
	})
	if idle != nil {
		idle.endTxn(idle.open(), nothingCame(limit), limit)
	}
}

func nothingCame(limit time.Duration) string { return fmt.Sprintf("nothing came of it for %s", limit) }

// look returns why a transaction has to end that has the turn; empty: it has not to.
func (seen *watch) look(c *conn, x *txn, now time.Time, limit time.Duration) string {
	bytes := c.sends.bytes.Load()
	if seen.x != x {
		*seen = watch{begun: seen.begun, x: x, bytes: bytes, looked: now}
		return ""
	}
	passed := now.Sub(seen.looked)
	seen.looked = now
	if !c.waitsForClient(x) {
		return ""
	}
	seen.could += passed
	if c.sendsNothing(x, seen.begun, now, limit) {
		return nothingCame(limit)
	}
	if windows := int64(seen.could / limit); windows >= idlePatient && bytes-seen.bytes < windows*idlePiece {
		return fmt.Sprintf("less than %d bytes of it came in each %s", idlePiece, limit)
	}
	return ""
}

// waitsForClient reports whether nothing of a transaction, which has no locks, goes on until the
// client has sent more of it.
func (c *conn) waitsForClient(x *txn) bool {
	return x != nil && x.stage.State() == stage.Begun && c.sends.last.Load() != 0
}

// sendsNothing reports whether nothing came for a while of such a transaction, while somebody
// waited.
func (c *conn) sendsNothing(x *txn, waiting, now time.Time, limit time.Duration) bool {
	return c.waitsForClient(x) && min(c.sends.silent(now), now.Sub(waiting)) >= limit
}

// endTxn aborts a transaction on behalf of others, unless it goes on at this moment. Its client is
// told at its vote.
func (c *conn) endTxn(x *txn, why string, limit time.Duration) {
	if x == nil {
		return
	}
	x.stage.UseIdle(func(w *work) {
		if w.failed != nil || c.sends.last.Load() == 0 {
			return
		}
		c.srv.o.Observer.Refused("timeout")
		c.log().Warn("a large transaction was aborted before its vote: others waited for the memory that it had", "why", why, "limit", limit)
		w.failed = &pythonError{classStorage, wire.Tuple{"the transaction was aborted by the server before its vote, because " + why +
			" while others waited for the memory that it had: send it faster, in smaller parts, or raise large-transaction-timeout"}}
		c.release(w)
	})
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
