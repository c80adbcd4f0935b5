package zeo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// vote answers when the transaction can be finished without fail, with the oids
// whose records are not what the client sent; or with its conflicts.
func (c *conn) vote(r *request, a *arguments) error {
	c.awaitFinish()
	x, err := c.current(a, 0)
	if err != nil {
		return r.fail(err)
	}
	c.mu.Lock()
	state := x.state
	if state == txnBegun {
		// Until the vote waits, what interrupts it needs no more than to be noted.
		x.state, x.done, x.interrupt = txnWaiting, make(chan struct{}), func(error) {}
	}
	c.mu.Unlock()
	switch state {
	case txnWaiting:
		return r.fail(transactionError("Already voting (waiting)"))
	case txnVoted:
		return r.fail(transactionError("Already voting (locked)"))
	}
	r.keep()
	c.beside(func() error { return c.runVote(r, x) })
	return nil
}

func (c *conn) runVote(r *request, x *txn) error {
	defer close(x.done)
	h := c.hub
	begun := h.clock()
	h.stats.waiting.Add(1)
	err := c.tryVote(x)
	h.stats.waiting.Add(-1)
	c.srv.o.Observer.Voted(h.name, h.clock().Sub(begun))

	var conflicts *zodb.ConflictsError
	var answer any
	if err == nil {
		answer = oidList(x.undone)
	} else if errors.As(err, &conflicts) {
		c.srv.o.Observer.Conflicted(h.name)
		answer, err = c.conflictRecords(x, conflicts)
	}
	c.mu.Lock()
	if err == nil && x.gaveUp {
		err = errAborted
	}
	if err != nil {
		c.mu.Unlock()
		c.forget(x)
		if errors.Is(err, zodb.ErrConflict) {
			h.stats.conflicts.Add(1)
		}
		return r.fail(err)
	}
	c.hold(x)
	x.state = txnVoted
	if conflicts != nil {
		// What came while it voted is before what comes now.
		for _, st := range x.late {
			c.do(x, st)
		}
		x.state, x.late = txnBegun, nil
	}
	drained := c.draining && x.state == txnBegun
	c.mu.Unlock()
	if err := r.answer(answer); err != nil || !drained {
		return err
	}
	return ErrClosed
}

func oidList(oids []zodb.OID) wire.List {
	list := make(wire.List, len(oids))
	for i, oid := range oids {
		list[i] = oid
	}
	return list
}

// tryVote votes, again from the start when an operation comes in between.
func (c *conn) tryVote(x *txn) error {
	for {
		ctx, cancel := context.WithCancelCause(c.ctx)
		c.mu.Lock()
		x.interrupt = cancel
		late, gaveUp := x.late, x.gaveUp
		x.late = nil
		c.mu.Unlock()
		x.queued = append(x.queued, late...)
		err := errAborted
		if !gaveUp {
			err = c.catchUp(ctx, x)
		}
		if err == nil {
			err = x.t.Vote(ctx)
		}
		interrupted := context.Cause(ctx)
		cancel(nil)
		if err != nil && errors.Is(interrupted, errLate) && (errors.Is(err, errLate) || errors.Is(err, context.Canceled)) {
			continue
		}
		if err != nil && errors.Is(interrupted, errAborted) {
			return errAborted
		}
		return err
	}
}

// timeout is how long a transaction may stay between its vote and its end; 0 or less: no limit.
func (o *Options) timeout(x *txn) time.Duration {
	if x.copied && (o.TransactionTimeout <= 0 || o.copyTimeout < o.TransactionTimeout) {
		return o.copyTimeout
	}
	return o.TransactionTimeout
}

// hold counts a transaction that holds locks, and limits the time for it. conn.mu
// must be held.
func (c *conn) hold(x *txn) {
	if x.held {
		return
	}
	x.held = true
	h := c.hub
	if h.stats.holding.Add(1) == 1 {
		h.stats.lockTime.Store(h.clock().UnixNano())
	}
	if limit := c.srv.o.timeout(x); limit > 0 {
		x.timer = time.AfterFunc(limit, func() {
			c.srv.o.Observer.Refused("timeout")
			// The words that those who watch the log of a ZEO server look for.
			c.log().Error(fmt.Sprintf("Transaction timeout after %g seconds", limit.Seconds()), "logger", "ZEO.StorageServer", "level", "CRITICAL")
			c.end(fmt.Errorf("the transaction was not finished within %s of its vote", limit))
		})
	}
}

// conflictRecords returns what the client needs to resolve the conflicts, or
// the error if one of them is none that can be resolved.
func (c *conn) conflictRecords(x *txn, all *zodb.ConflictsError) (wire.List, error) {
	var list wire.List
	for _, e := range all.Conflicts {
		if e.Read {
			found, err := c.hub.storage.Exists(c.ctx, e.OID)
			if err != nil {
				return nil, err
			}
			if !found {
				return nil, &zodb.KeyError{OID: e.OID}
			}
			return nil, e
		}
		if !e.Undo && x.t.Deletes(e.OID) {
			return nil, e
		}
		data, err := x.t.Data(e.OID)
		if err != nil {
			return nil, err
		}
		// Without waiting: locks are held.
		n := int64(3*len(data) + writeMemory)
		if len(list) == 0 {
			c.has.answers.Add(n) // one can always be resolved
		} else if !c.has.answers.Try(n) {
			c.srv.o.Observer.Refused("memory")
			return nil, e // unresolved, so that the client tries the whole transaction again
		}
		defer c.has.answers.Give(n)
		list = append(list, wire.Dict{{Key: "oid", Value: e.OID}, {Key: "serials", Value: wire.Tuple{e.Current, e.Serial}}, {Key: "data", Value: data}})
	}
	return list, nil
}
