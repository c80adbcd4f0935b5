package zeo

import (
	"errors"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/stage"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// txn is the transaction of a connection, from tpc_begin on. Its fields do not change. Its
// changing part is its work, which its stage gives to one goroutine at a time.
type txn struct {
	handle handle
	public any  // the handle as the client sent it
	copied bool // it has its tid already, so that from its vote on the finish of all others waits
	memory account
	stage  *stage.Stage[*work, *step]
	seenBy *progress // for those who look at it
}

// work is the changing part of a transaction.
type work struct {
	*txn
	t zodb.Txn

	failed   error // the error of an operation, told at the vote; t may be nil then
	bytes    int64 // of records
	file     bool  // one of has.spools is held
	undone   []zodb.OID
	blobs    []zodb.OID // whose blobs it stores
	inMemory int64      // bytes of records that the storage keeps in memory
	need     int64      // bytes of memory of all steps, those that are parked included
	parked   *parked    // steps that there was no memory for; nil: none
	queued   []*step    // those that came late, and are not done yet
	seen     watch      // of its vote, while that waits for memory

	held  bool        // counted as one that holds locks
	timer *time.Timer // ends the connection
}

// endOfTIDs counts for clients as later than all transactions. A transaction
// with that tid, once committed, would be the last one of the storage for ever.
const endOfTIDs zodb.TID = 1<<63 - 1

// tpcBegin starts a transaction. An objection of the storage is told at the vote.
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
	c.await(stage.Ended) // it is closed in a moment
	x := c.open()
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
	x = &txn{handle: h, public: a.public(0), copied: o.TID != 0, memory: account{share: c.has.steps}}
	w := &work{txn: x, failed: err}
	x.stage = stage.New[*work, *step](w)
	if err == nil {
		meta := zodb.TxnMeta{User: user, Description: description, Extension: extension}
		o.Mergeable = c.srv.o.MergeUndo
		w.t, w.failed = c.hub.storage.Begin(c.ctx, meta, o)
	}
	x.seenBy = newProgress(c.srv.o.Clock(), user, description, w.t)
	c.hub.stats.active.Add(1)
	c.mu.Lock()
	c.txn = x
	c.mu.Unlock()
	return r.answer(nil)
}

// checkMeta refuses metadata longer than the storage's files have room for.
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

// open returns the transaction that is open; nil: none is.
func (c *conn) open() *txn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.txn
}

// awaitFinish waits until a finish that goes on has ended: later requests take effect
// behind it.
func (c *conn) awaitFinish() { c.await(stage.Finishing) }

// await waits while a transaction is in a state that ends by itself.
func (c *conn) await(state stage.State) {
	if x := c.open(); x != nil && x.stage.State() == state {
		c.out.kick()
		x.stage.Wait()
	}
}

// current returns the open transaction if it is the one that is named. The
// error says which two do not fit.
func (c *conn) current(a *arguments, i int) (*txn, error) {
	h := a.handle(i)
	if a.err != nil {
		return nil, &typeError{a.err.Error()}
	}
	x := c.open()
	if x == nil {
		return nil, transactionError(nil, a.get(i))
	}
	if x.handle != h {
		return nil, transactionError(x.public, a.get(i))
	}
	return x, nil
}

// forget ends a transaction that was not finished, for the last owner of its work: its locks are
// free when it returns.
func (c *conn) forget(w *work) {
	if w.t != nil {
		if err := w.t.Abort(); err != nil {
			c.log().Warn("could not remove an aborted transaction's files; the next open will", "err", err)
		}
	}
	c.closeTxn(w)
}

// closeTxn is the end of every transaction, for the last owner of its work.
func (c *conn) closeTxn(w *work) {
	c.mu.Lock()
	if c.txn == w.txn {
		c.txn = nil
	}
	c.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	c.dropAll(w.queued) // whose vote ended before they came into it
	h := c.hub
	c.giveSteps(w)
	if w.held && h.stats.holding.Add(-1) == 0 {
		h.stats.lockTime.Store(0)
	}
	h.stats.active.Add(-1)
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
	if x.stage.GiveUp() {
		c.out.kick()
		x.stage.Wait()
	} else if w, ok := x.stage.Take(); ok {
		c.forget(w)
	} else {
		x.stage.Wait() // its vote has failed just now
	}
	c.countAbort()
	return errors.Join(r.answer(nil), c.drained())
}

func (c *conn) countAbort() {
	c.hub.stats.aborts.Add(1)
	c.tally.aborts.Add(1)
	c.srv.o.Observer.Aborted(c.hub.name)
}

// abandon aborts a transaction that the end of the connection leaves open. The reader has
// ended; requests that go on beside it touch no transaction, except for a vote or a finish,
// which is waited for: the locks are free as soon as nothing of the transaction goes on.
func (c *conn) abandon() {
	c.discardUpload()
	x := c.open()
	if x == nil {
		return
	}
	x.stage.Wait()
	if w, ok := x.stage.Take(); ok {
		c.forget(w)
		c.countAbort()
	}
}
