package zeo

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// txn is the transaction of a connection, from tpc_begin on. While it is begun
// the reader uses it; while it waits, the goroutine of its vote; while it is being
// finished, that of its finish. conn.mu guards state, late, interrupt and gaveUp.
type txn struct {
	handle handle
	public any // the handle as the client sent it
	t      zodb.Txn
	state  txnState

	copied bool // it has its tid already, so that from its vote on the finish of all others waits

	failed   error        // what an operation met, told at the vote; t may be nil then
	bytes    int64        // of records
	memory   atomic.Int64 // of has.steps
	file     bool         // one of has.spools is held
	undone   []zodb.OID
	blobs    []zodb.OID // whose blobs it stores
	inMemory int64      // bytes of records that the storage keeps in memory
	need     int64      // bytes of memory of all steps, those that are parked included
	parked   *parked    // steps that there was no memory for; nil: none
	queued   []*step    // of the goroutine of the vote: those that came late, and are not done yet

	late      []*step                 // operations that came while it waits
	interrupt context.CancelCauseFunc // of the wait
	gaveUp    bool                    // the client aborted it while it waits
	done      chan struct{}           // closed when the vote, or the finish, that goes on has ended
	held      bool                    // counted as one that holds locks
	timer     *time.Timer             // ends the connection
}

type txnState uint8

const (
	txnBegun     txnState = iota
	txnWaiting            // its vote goes on
	txnVoted              // its vote was answered without conflicts
	txnFinishing          // its finish goes on
)

// Reasons to interrupt a vote.
var (
	errLate    = errors.New("another operation came while the vote waited")
	errAborted = errors.New("the transaction was aborted")
)

// endOfTIDs is what clients take for later than all transactions. A transaction
// with that tid, once committed, would be the last one of the storage for ever.
const endOfTIDs zodb.TID = 1<<63 - 1

// tpcBegin starts a transaction. What the storage has against it is told at the vote.
func (c *conn) tpcBegin(r *request, a *arguments) error {
	h, user, description := a.handle(0), a.meta(1), a.meta(2)
	o := zodb.BeginOptions{TID: a.tidOr0(4)}
	if status := a.meta(5); string(status) == string(zodb.StatusPacked) {
		o.Status = zodb.StatusPacked
	}
	extension, err := extensionOf(a.get(3))
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	if err == nil {
		err = checkMeta(user, description, extension)
	}
	c.awaitFinish()
	c.mu.Lock()
	x := c.txn
	c.mu.Unlock()
	if x != nil {
		if x.handle == h {
			return r.answer(nil)
		}
		return r.fail(transactionError("a transaction is open already: one connection has one at a time"))
	}
	c.discardUpload()
	if o.TID >= endOfTIDs {
		err = &pythonError{classStorage, wire.Tuple{fmt.Sprintf("no transaction can be copied with the tid %s: there would be none after it", o.TID)}}
	}
	x = &txn{handle: h, public: a.public(0), copied: o.TID != 0, failed: err}
	if err == nil {
		meta := zodb.TxnMeta{User: user, Description: description, Extension: extension}
		o.Mergeable = c.srv.o.MergeUndo
		x.t, x.failed = c.hub.storage.Begin(c.ctx, meta, o)
	}
	c.hub.stats.active.Add(1)
	c.mu.Lock()
	c.txn = x
	c.mu.Unlock()
	return r.answer(nil)
}

// checkMeta refuses what is longer than the storage's files have room for.
func checkMeta(user, description, extension []byte) error {
	for _, f := range []struct {
		name string
		data []byte
	}{{"user", user}, {"description", description}, {"extension", extension}} {
		if len(f.data) > zodb.MaxMetaLen {
			return &pythonError{classStorage, wire.Tuple{fmt.Sprintf("the %s of the transaction has %d bytes; the limit is %d", f.name, len(f.data), zodb.MaxMetaLen)}}
		}
	}
	return nil
}

// extensionOf returns the pickle that is stored of an extension.
func extensionOf(v any) ([]byte, error) {
	switch e := v.(type) {
	case nil:
		return nil, nil
	case []byte:
		return e, nil
	case wire.Dict:
		b, err := wire.PickleDict(e, zodb.MaxMetaLen)
		if err != nil {
			return nil, &pythonError{classStorage, wire.Tuple{fmt.Sprintf("the extension of the transaction cannot be stored: %v", err)}}
		}
		return b, nil
	}
	return nil, &pythonError{classStorage, wire.Tuple{"the extension of the transaction is not a dictionary"}}
}

// awaitFinish waits until a finish that goes on has ended: what comes behind it
// takes effect behind it.
func (c *conn) awaitFinish() {
	c.mu.Lock()
	x := c.txn
	finishing := x != nil && x.state == txnFinishing
	c.mu.Unlock()
	if finishing {
		c.out.kick()
		<-x.done
	}
}

// current returns the open transaction if it is the one that is named. The
// error says which two do not fit.
func (c *conn) current(a *arguments, i int) (*txn, error) {
	h := a.handle(i)
	if a.err != nil {
		return nil, &typeError{a.err.Error()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.txn == nil {
		return nil, transactionError(nil, a.get(i))
	}
	if c.txn.handle != h {
		return nil, transactionError(c.txn.public, a.get(i))
	}
	return c.txn, nil
}

// forget ends a transaction that was not finished: its locks are free when it
// returns.
func (c *conn) forget(x *txn) {
	if x.t != nil {
		if err := x.t.Abort(); err != nil {
			c.log().Warn("what an aborted transaction left is removed at the next open", "err", err)
		}
	}
	c.closeTxn(x)
}

// closeTxn is the end of every transaction.
func (c *conn) closeTxn(x *txn) {
	c.mu.Lock()
	if c.txn == x {
		c.txn = nil
	}
	c.mu.Unlock()
	if x.timer != nil {
		x.timer.Stop()
	}
	for _, st := range append(x.queued, x.late...) { // whose vote ended before they came into it
		c.dropShared(st)
	}
	h := c.hub
	c.giveSteps(x)
	if x.file {
		c.has.spools.Give(1)
	}
	if x.held && h.stats.holding.Add(-1) == 0 {
		h.stats.lockTime.Store(0)
	}
	h.stats.active.Add(-1)
}

// tpcFinish commits. The answer, and what others are told, is sent by the committer.
func (c *conn) tpcFinish(r *request, a *arguments) error {
	c.awaitFinish()
	x, err := c.current(a, 0)
	if err != nil {
		return r.answerNone(err)
	}
	c.mu.Lock()
	state := x.state
	if state == txnVoted {
		x.state, x.done = txnFinishing, make(chan struct{})
		c.finishes++
		if x.timer != nil { // its end does not depend on the client any more, but maybe on another one
			x.timer.Stop()
		}
	}
	c.mu.Unlock()
	if state != txnVoted {
		return r.fail(&pythonError{classAssertion, wire.Tuple{}})
	}
	r.keep()
	c.beside(func() error { return c.runFinish(r, x) })
	return nil
}

// answerNone answers None to a call about a transaction that is not open; other
// errors are told.
func (r *request) answerNone(err error) error {
	if e, ok := errors.AsType[*pythonError](err); ok && e.class == classTransaction {
		return r.answer(nil)
	}
	return r.fail(err)
}

func (c *conn) runFinish(r *request, x *txn) error {
	defer close(x.done)
	h := c.hub
	begun := h.clock()
	oids := x.t.OIDs()
	var sent error
	_, err := x.t.Finish(c.ctx, func(tid zodb.TID) {
		if h.blobs != nil {
			h.blobs.share(append(x.blobs, x.undone...), tid)
		}
		h.stats.commits.Add(1)
		h.announce(announcement{tid: tid, oids: oids, committer: c, last: func() {
			sent = errors.Join(c.put("info", h.size()), r.answer(tid))
		}})
	})
	c.closeTxn(x)
	if err != nil {
		sent = r.fail(err)
	}
	h.spread(c)
	if sent == nil {
		sent = c.out.flushAll() // a shutdown may end the connection as soon as it was sent
	}
	if h.blobs != nil {
		h.blobs.tidy()
	}
	c.srv.o.Observer.Committed(h.name, h.clock().Sub(begun))
	c.mu.Lock()
	c.finishes--
	drained := c.draining
	c.mu.Unlock()
	if sent == nil && drained {
		return ErrClosed
	}
	return sent
}

// tpcAbort never fails. Clients call it after every error, also with a
// transaction that was never begun here.
func (c *conn) tpcAbort(r *request, a *arguments) error {
	c.awaitFinish()
	x, err := c.current(a, 0)
	if err != nil {
		return r.answerNone(err)
	}
	c.discardUpload()
	c.mu.Lock()
	waiting := x.state == txnWaiting
	if waiting {
		x.gaveUp = true
		x.interrupt(errAborted)
	}
	c.mu.Unlock()
	if waiting {
		c.out.kick()
		<-x.done
	} else {
		c.forget(x)
	}
	c.hub.stats.aborts.Add(1)
	c.srv.o.Observer.Aborted(c.hub.name)
	return r.answer(nil)
}

// abandon aborts what the end of the connection leaves open. The reader has ended; requests
// that go on beside it touch no transaction, except for a vote or a finish, which is
// waited for: the locks are free as soon as nothing of the transaction goes on.
func (c *conn) abandon() {
	c.discardUpload()
	c.mu.Lock()
	x := c.txn
	var done chan struct{}
	if x != nil && (x.state == txnWaiting || x.state == txnFinishing) {
		done = x.done
	}
	c.mu.Unlock()
	if done != nil {
		<-done
		c.mu.Lock()
		x = c.txn
		c.mu.Unlock()
	}
	if x == nil {
		return
	}
	c.forget(x)
	c.hub.stats.aborts.Add(1)
	c.srv.o.Observer.Aborted(c.hub.name)
}
