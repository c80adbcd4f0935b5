package zeo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/stage"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// ballot is a vote that goes on, and has the work of its transaction.
type ballot = stage.Vote[*work, *step]

// vote answers when the transaction can be finished without fail, with the oids whose
// records differ from those that the client sent; or with its conflicts.
func (c *conn) vote(r *request, a *arguments) error {
	c.awaitFinish()
	x, err := c.current(a, 0)
	if err != nil {
		return r.fail(err)
	}
	v, state := x.stage.StartVote()
	switch state {
	case stage.Voting:
		return r.fail(transactionError("Already voting (waiting)"))
	case stage.Voted:
		return r.fail(transactionError("Already voting (locked)"))
	}
	if v == nil {
		return r.fail(transactionError(nil, a.get(0)))
	}
	r.keep()
	c.beside(func() error { return c.runVote(r, v) })
	return nil
}

func (c *conn) runVote(r *request, v *ballot) error {
	defer v.Leave()
	h, w := c.hub, v.Work()
	begun := h.clock()
	w.seenBy.enter(begun)
	h.stats.waiting.Add(1)
	err := c.tryVote(v)
	h.stats.waiting.Add(-1)
	voted := h.clock()
	w.seenBy.enter(voted)
	c.srv.o.Observer.Voted(h.name, voted.Sub(begun))

	var conflicts *zodb.ConflictsError
	if errors.As(err, &conflicts) || errors.Is(err, zodb.ErrConflict) {
		h.stats.conflicts.Add(1)
		c.tally.conflicts.Add(1)
	}
	var answer any
	to := stage.Voted
	if err == nil {
		answer = oidList(w.undone)
	} else if errors.As(err, &conflicts) {
		c.srv.o.Observer.Conflicted(h.name)
		answer, err = c.conflictRecords(w, conflicts)
		to = stage.Resolving
	}
	if err == nil {
		c.hold(w)
		err = c.giveBack(v, to)
	}
	if err != nil {
		c.dropAll(v.End())
		c.forget(w)
		return errors.Join(r.fail(err), c.drained())
	}
	return errors.Join(r.answer(answer), c.drained())
}

// giveBack settles the vote: the work goes back. Steps that came while it voted are before those that come
// now.
func (c *conn) giveBack(v *ballot, to stage.State) error {
	w := v.Work()
	for {
		late, done, err := v.Settle(to)
		if err != nil || to == stage.Voted {
			c.dropAll(late)
			return err
		}
		if done {
			return nil
		}
		for _, st := range late {
			c.do(w, st)
		}
	}
}

func oidList(oids []zodb.OID) wire.List {
	list := make(wire.List, len(oids))
	for i, oid := range oids {
		list[i] = oid
	}
	return list
}

// tryVote votes, again from the start when an operation comes in between.
func (c *conn) tryVote(v *ballot) error {
	w := v.Work()
	for {
		ctx, late, err := v.Attempt(c.ctx)
		w.queued = append(w.queued, late...)
		if err == nil {
			err = c.catchUp(ctx, w)
		}
		if err == nil {
			err = w.t.Vote(ctx)
		}
		interrupted := v.Attempted(ctx)
		if err != nil && errors.Is(interrupted, stage.ErrLate) && (errors.Is(err, stage.ErrLate) || errors.Is(err, context.Canceled)) {
			continue
		}
		if err != nil && errors.Is(interrupted, stage.ErrAborted) {
			return stage.ErrAborted
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

// hold counts a transaction that holds locks, and limits the time for it.
func (c *conn) hold(w *work) {
	if w.held {
		return
	}
	w.held = true
	h := c.hub
	if h.stats.holding.Add(1) == 1 {
		h.stats.lockTime.Store(h.clock().UnixNano())
	}
	if limit := c.srv.o.timeout(w.txn); limit > 0 {
		w.timer = time.AfterFunc(limit, func() {
			c.srv.o.Observer.Refused("timeout")
			// The words that monitors of the log of a ZEO server look for.
			c.log().Error(fmt.Sprintf("Transaction timeout after %g seconds", limit.Seconds()), "logger", "ZEO.StorageServer", "level", "CRITICAL")
			c.end(fmt.Errorf("the transaction was not finished within %s of its vote", limit))
		})
	}
}

// conflictRecords returns the records with which the client resolves the conflicts, or
// the error if one of them cannot be resolved.
func (c *conn) conflictRecords(w *work, all *zodb.ConflictsError) (wire.List, error) {
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
		if !e.Undo && w.t.Deletes(e.OID) {
			return nil, e
		}
		data, err := w.t.Data(e.OID)
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
