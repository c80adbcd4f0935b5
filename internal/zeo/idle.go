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

// watch is the knowledge of a vote that waits for memory about the transactions that have it. It
// waits as often as it is given some of it, so its observations are kept in between.
type watch struct {
	paused time.Time      // the end of the last wait
	of     map[*txn]*pace // those that were looked at the last time
}

// resume begins a wait. The time since the last one counts for nobody.
func (seen *watch) resume(now time.Time) {
	between := now.Sub(seen.paused)
	for _, p := range seen.of {
		p.since, p.looked = p.since.Add(between), p.looked.Add(between)
	}
}

// pause ends it.
func (seen *watch) pause(now time.Time) { seen.paused = now }

// pace is how fast a transaction comes.
type pace struct {
	bytes  int64         // of sends when it was seen first
	since  time.Time     // then, as if it had been waited for ever since
	looked time.Time     // the last time
	could  time.Duration // for how long the server has waited for its client since then
}

// endIdle ends the transaction that a vote waits for if nothing comes of it, or next to nothing:
// that whose turn it is; and if it is that of the one which waits, one that has memory which others
// could have.
func (s *Server) endIdle(seen *watch, x *txn) {
	limit, now := s.o.LargeTransactionTimeout, s.o.Clock()
	if limit <= 0 {
		return
	}
	defer seen.forget(now)
	c, holder := s.budgets.large.whose()
	if holder != nil && holder != x {
		if why := seen.look(c, holder, now, limit); why != "" {
			c.endTxn(holder, why, limit)
		}
		return
	}
	end := make(map[*conn]func())
	idle := s.most(func(c *conn) int64 {
		n, open := c.has.steps.Shared(), c.open()
		if n == 0 || open == nil || open == x {
			return 0
		}
		why := seen.look(c, open, now, limit)
		if why == "" {
			return 0
		}
		end[c] = func() { c.endTxn(open, why, limit) }
		return n
	})
	if idle != nil {
		end[idle]()
	}
}

func nothingCame(limit time.Duration) string { return fmt.Sprintf("nothing came of it for %s", limit) }

// forget drops the knowledge about those that were not looked at now.
func (seen *watch) forget(now time.Time) {
	for x, p := range seen.of {
		if !p.looked.Equal(now) {
			delete(seen.of, x)
		}
	}
}

// look returns why a transaction has to end that others wait for; empty: it has not to.
func (seen *watch) look(c *conn, x *txn, now time.Time, limit time.Duration) string {
	bytes := c.sends.bytes.Load()
	p := seen.of[x]
	if p == nil {
		if seen.of == nil {
			seen.of = make(map[*txn]*pace)
		}
		p = &pace{bytes: bytes, since: now, looked: now}
		seen.of[x] = p
	}
	passed := now.Sub(p.looked)
	p.looked = now
	if !c.waitsForClient(x) {
		return ""
	}
	p.could += passed
	if min(c.sends.silent(now), now.Sub(p.since)) >= limit {
		return nothingCame(limit)
	}
	if windows := int64(p.could / limit); windows >= idlePatient && bytes-p.bytes < windows*idlePiece {
		return fmt.Sprintf("less than %d bytes of it came in each %s", idlePiece, limit)
	}
	return ""
}

// waitsForClient reports whether nothing of a transaction, which has no locks, goes on until the
// client has sent more of it.
func (c *conn) waitsForClient(x *txn) bool {
	return x != nil && x.stage.State() == stage.Begun && c.sends.last.Load() != 0
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
