package zeo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

// largeTurn names the one large transaction that may take nearly all of the memory for steps.
// The others with more steps than they get beside it wait at their votes: until then the
// steps without memory are in a file, see parked.
type largeTurn struct {
	mu      sync.Mutex
	holder  *txn          // guarded by mu; nil: it is nobody's
	of      *conn         // guarded by mu: that of holder
	stuck   bool          // guarded by mu: the holder waits for memory that others have
	changed chan struct{} // guarded by mu: closed at any change, and when memory was given back; nil: nobody waits
}

// turnTime is how long a vote waits for the memory of its transaction.
const turnTime = 10 * time.Minute

// hold takes memory of the steps for a transaction until its end. It does not wait.
func (t *largeTurn) hold(c *conn, x *txn, n int64) bool {
	return x.memory.try(n) || t.take(c, x) && x.memory.inTurn(n)
}

// take reports whether it is the turn of a transaction, from now on if it is nobody's.
func (t *largeTurn) take(c *conn, x *txn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder == nil {
		t.holder, t.of = x, c
	}
	return t.holder == x
}

// whose returns the transaction whose turn it is, and its connection; nil: it is nobody's.
func (t *largeTurn) whose() (*conn, *txn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of, t.holder
}

// end is called when a transaction has given its memory back.
func (t *largeTurn) end(x *txn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder == x {
		t.holder, t.of, t.stuck = nil, nil, false
	}
	t.signal()
}

// signal wakes the waiters. mu must be held.
func (t *largeTurn) signal() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// next returns a channel that is closed at the next change.
func (t *largeTurn) next() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

// waits notes that a transaction waits, and reports whether it may: not while the holder
// of the turn waits for memory that x holds.
func (t *largeTurn) waits(x *txn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder != x {
		return !t.stuck || x.memory.held.Load() == 0
	}
	if !t.stuck {
		t.stuck = true
		t.signal()
	}
	return true
}

// goesOn notes that a transaction waits no more.
func (t *largeTurn) goesOn(x *txn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder == x {
		t.stuck = false
	}
}

// await is hold, and waits, in the goroutine of a vote that holds no locks. The error is the
// cause of ctx if that has ended.
func (t *largeTurn) await(ctx context.Context, c *conn, w *work, n int64) error {
	x, clock := w.txn, c.srv.o.Clock
	if t.hold(c, x, n) {
		return nil
	}
	w.seen.resume(clock())
	defer func() {
		t.goesOn(x)
		w.seen.pause(clock())
	}()
	var late, look <-chan time.Time
	for {
		changed := t.next()
		if t.hold(c, x, n) {
			return nil
		}
		if w.held || !t.waits(x) {
			return c.scarce("a transaction of this many objects, beside another large one")
		}
		if late == nil {
			timer := time.NewTimer(turnTime)
			defer timer.Stop()
			ticker := time.NewTicker(c.srv.o.lookTime)
			defer ticker.Stop()
			late, look = timer.C, ticker.C
		}
		select {
		case <-changed:
		case <-look:
			c.srv.endIdle(&w.seen, x)
			if c.srv.o.looked != nil {
				c.srv.o.looked()
			}
		case <-late:
			return c.scarce(fmt.Sprintf("a transaction of this many objects, which waited for %s", turnTime))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tooLarge is the error for a transaction that nobody could commit here.
func (c *conn) tooLarge(most int64) error {
	c.srv.o.Observer.Refused("memory")
	return &pythonError{classStorage, wire.Tuple{fmt.Sprintf(
		"the objects of the transaction take more than %d bytes of memory, the limit for the largest one, about a quarter of memory-limit: raise memory-limit, or commit in several transactions", most)}}
}
