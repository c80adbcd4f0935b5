package txn

import (
	"context"
	"errors"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// errOvertaken is the cause of a failed vote if its tid is not later than the last one
// any more.
var errOvertaken = errors.New("overtaken")

// A copied transaction has its tid before it is committed, and others could be committed
// with later ones between its vote and its finish, which then would have to fail. So the
// committer goes on with such a transaction only, from the end of its vote to its own end:
// the others can vote meanwhile, and their Finish waits. There is one at a time.
//
// It is the last thing that a vote waits for, behind the locks of its objects, and its owner
// waits for no locks. So there is no deadlock.
type givenTID struct {
	turn chan struct{} // holds one value while somebody has the turn, or is about to

	// Guarded by mu of the queue:
	txn     *Txn          // that goes before all others; nil: none
	leaving bool          // Close has begun: nobody is waited for any more
	working bool          // a commit is under way
	idle    chan struct{} // not nil: closed when that commit has ended
}

// goFirst makes t the transaction that is committed next. It waits for one that has the
// turn, and for the commit that is under way.
func (c *commitQueue) goFirst(ctx context.Context, t *Txn, last func() zodb.TID) error {
	select {
	case c.given.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	if c.given.leaving {
		c.mu.Unlock()
		<-c.given.turn
		return zodb.ErrClosed
	}
	c.given.txn, t.first = t, true
	if c.given.working && c.given.idle == nil {
		c.given.idle = make(chan struct{})
	}
	idle := c.given.idle
	c.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
			c.notFirst(t)
			return context.Cause(ctx)
		}
	}
	if t.given <= last() {
		c.notFirst(t)
		return errOvertaken
	}
	return nil
}

// notFirst gives up the turn of a transaction, if it has it.
func (c *commitQueue) notFirst(t *Txn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.giveUpTurn(t)
}

// giveUpTurn is notFirst with mu held.
func (c *commitQueue) giveUpTurn(t *Txn) {
	if !t.first {
		return
	}
	t.first, c.given.txn = false, nil
	<-c.given.turn
	c.filled.Signal()
}

// first returns where in the queue the transaction is that goes before all others, or
// whether there is nothing to wait for. mu must be held.
func (c *commitQueue) first() (at int, come bool) {
	if c.given.txn == nil {
		return 0, true
	}
	for i, q := range c.waiting {
		if q.txn == c.given.txn {
			return i, true
		}
	}
	return 0, c.given.leaving
}

// leave is called when Close begins: those in Finish do not wait any more for one that has
// not come to it, and does not get there.
func (c *commitQueue) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given.leaving = true
	c.filled.Signal()
}

// worked is the end of a commit of n transactions, which took so long.
func (c *commitQueue) worked(n int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given.working = false
	c.lastSync, c.siblings = took, n+int(c.coming.Load())
	if len(c.waiting) > 0 || c.closed {
		c.filled.Signal()
	}
	if c.given.idle != nil {
		close(c.given.idle)
		c.given.idle = nil
	}
}
