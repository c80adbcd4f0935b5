package zeo

import (
	"bytes"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// step is one operation of a transaction. What is wrong with it is told at the
// vote.
type step struct {
	kind   stepKind
	oid    zodb.OID
	serial zodb.TID
	data   []byte   // a part of the frame until keep; nil in a restore: the object does not exist any more
	from   zodb.TID // of a restore: the revision whose data it has; 0 = its own
	blob   zodb.BlobSource
	failed error // what is wrong with it was found when it came
}

type stepKind uint8

const (
	stepStore stepKind = iota
	stepDelete
	stepRestore
	stepUndo
	stepCheck
	stepBlob
)

// keep makes the step independent of the frame that it came in.
func (st *step) keep() { st.data = bytes.Clone(st.data) }

// operate works off a call with a step: now, or, if its vote waits, as a part of
// the next try of it. A step that comes after the vote is never used. Arguments that do
// not fit, that of the transaction excepted, are told at the vote: these calls have no answer
// by which they could be told, and a client that is cut off does not learn why.
func (c *conn) operate(r *request, a *arguments, handleAt int, st *step) error {
	c.awaitFinish()
	if a.err != nil && st.failed == nil {
		st.failed = &typeError{fmt.Sprintf("%s: %v", r.name, a.err)}
	}
	a.err = nil
	x, err := c.current(a, handleAt)
	if err != nil {
		c.dropShared(st)
		return r.fail(err)
	}
	state, ended := c.join(x, st)
	switch {
	case state == txnBegun:
		if c.do(x, st); x.failed != nil {
			c.release(x)
		}
	case state == txnVoted || ended:
		c.dropShared(st)
	}
	return r.answer(nil)
}

// join gives a step to a vote that goes on, which begins anew with it. ended: the transaction
// is not open any more, as its vote may have failed just now, and takes nothing.
func (c *conn) join(x *txn, st *step) (state txnState, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, ended = x.state, c.txn != x
	if state == txnWaiting && !ended {
		if !x.holdLate(c, st.memory()+int64(len(st.data))) {
			st.failed, st.data = c.scarce("what comes while a vote waits"), nil
		}
		st.keep()
		x.late = append(x.late, st)
		x.interrupt(errLate)
	}
	return state, ended
}

// do does a step. After one that failed the transaction cannot be committed, so
// the others are passed over.
func (c *conn) do(x *txn, st *step) {
	if x.failed == nil {
		x.failed = c.try(x, st)
	}
	if x.failed != nil {
		c.dropShared(st)
	}
}

// release gives back what a transaction holds that has failed before its vote.
func (c *conn) release(x *txn) {
	if x.t == nil || x.held {
		return
	}
	if err := x.t.Abort(); err != nil {
		c.log().Warn("what an aborted transaction left is removed at the next open", "err", err)
	}
	x.t = nil
	c.giveSteps(x)
}

// giveSteps gives back what the steps of a transaction take.
func (c *conn) giveSteps(x *txn) {
	c.unpark(x)
	c.has.steps.Give(x.memory.Swap(0))
	c.srv.budgets.large.end(x)
}

func (c *conn) try(x *txn, st *step) error {
	if st.failed != nil {
		return st.failed
	}
	x.bytes += int64(len(st.data))
	if limit := c.srv.o.Limits.Transaction; x.bytes > limit {
		c.srv.o.Observer.Refused("transaction")
		return &pythonError{classStorage, wire.Tuple{fmt.Sprintf("the transaction has more than %d bytes of records, which is the limit max-transaction of the server", limit)}}
	}
	x.need += st.memory()
	if x.bytes <= c.srv.budgets.spool {
		x.need += int64(len(st.data))
	}
	if most := c.has.steps.MostInTurn(); x.need > most {
		return c.tooLarge(most)
	}
	if x.parked == nil {
		n, err := c.weigh(x, st)
		if err != nil {
			return err
		}
		if c.srv.budgets.large.hold(c, x, n) {
			return c.store(x, st, n)
		}
	}
	if x.held { // it has locks, so it waits for nobody
		return c.scarce("a transaction of this many objects")
	}
	return c.park(x, st)
}

// weigh returns what a step takes in memory, and takes the file that records are in of which there
// are many.
func (c *conn) weigh(x *txn, st *step) (int64, error) {
	if n := int64(len(st.data)); x.inMemory+n <= c.srv.budgets.spool {
		return st.memory() + n, nil
	}
	return st.memory(), c.takeTxnFile(x)
}

// store does a step for which there is the memory that weigh said.
func (c *conn) store(x *txn, st *step, weight int64) error {
	x.inMemory += weight - st.memory()
	return c.apply(x, st)
}

// takeTxnFile takes the files of a large transaction: that of its records, and that of the steps
// which are parked.
func (c *conn) takeTxnFile(x *txn) error {
	if !x.file {
		if !c.has.spools.Try(1) {
			return c.noFile("a transaction of this many objects or bytes", "large transactions")
		}
		x.file = true
	}
	return nil
}

// hold takes memory for a transaction until its end.
func (x *txn) hold(c *conn, n int64) bool {
	if !c.has.steps.Try(n) {
		return false
	}
	x.memory.Add(n)
	return true
}

// holdLate is hold for a step that comes while the vote waits, maybe for its turn: a few more are
// nothing beside the others.
func (x *txn) holdLate(c *conn, n int64) bool {
	if x.hold(c, n) {
		return true
	}
	if !c.has.steps.TryInTurn(n) {
		return false
	}
	x.memory.Add(n)
	return true
}

// lastOID is never stored: no new oid would be left after it.
const lastOID = ^zodb.OID(0)

// storable refuses to store lastOID. One that is there from before can be deleted.
func (st *step) storable() error {
	switch st.kind {
	case stepStore, stepBlob, stepRestore:
		if st.oid == lastOID {
			return &pythonError{classStorage, wire.Tuple{fmt.Sprintf("oid %s is the last one there is and cannot be stored: no new oid would be left", st.oid)}}
		}
	}
	return nil
}

// dropShared removes an upload in the shared directory that is not taken.
func (c *conn) dropShared(st *step) {
	if st.blob.Path != "" {
		c.hub.blobs.drop(st.blob.Path)
	}
}

func (c *conn) apply(x *txn, st *step) error {
	if err := st.storable(); err != nil {
		return err
	}
	stores := &c.hub.stats.stores
	switch st.kind {
	case stepStore:
		stores.Add(1)
		return x.t.Store(st.oid, st.serial, st.data)
	case stepBlob:
		x.blobs = append(x.blobs, st.oid)
		return x.t.StoreBlob(st.oid, st.serial, st.data, st.blob)
	case stepDelete:
		stores.Add(1)
		return x.t.Delete(st.oid, st.serial)
	case stepRestore:
		stores.Add(1)
		return x.t.Restore(c.ctx, zodb.Record{OID: st.oid, TID: st.serial, Data: st.data, Exists: st.data != nil, DataTID: st.from}, nil)
	case stepCheck:
		// Nobody has read the current revision of an object that does not exist.
		if found, err := c.hub.storage.Exists(c.ctx, st.oid); err == nil && !found && st.serial == 0 {
			return &zodb.KeyError{OID: st.oid}
		}
		return x.t.CheckCurrent(st.oid, st.serial)
	case stepUndo:
		oids, err := x.t.Undo(c.ctx, st.serial)
		x.undone = append(x.undone, oids...)
		return err
	}
	panic(fmt.Sprintf("unknown step %d", st.kind))
}

func (c *conn) storea(r *request, a *arguments) error {
	st := &step{kind: stepStore, oid: a.oid(0), serial: a.tidOr0(1), data: a.bytes(2)}
	return c.operate(r, a, 3, st)
}

func (c *conn) restorea(r *request, a *arguments) error {
	st := &step{kind: stepRestore, oid: a.oid(0), serial: a.tidOr0(1), from: a.tidOr0(3)}
	if a.get(2) != nil {
		st.data = nonNil(a.bytes(2))
	}
	return c.operate(r, a, 4, st)
}

func (c *conn) deleteObject(r *request, a *arguments) error {
	return c.operate(r, a, 2, &step{kind: stepDelete, oid: a.oid(0), serial: a.tidOr0(1)})
}

func (c *conn) checkCurrent(r *request, a *arguments) error {
	return c.operate(r, a, 2, &step{kind: stepCheck, oid: a.oid(0), serial: a.tidOr0(1)})
}

// undoa names the transaction to undo as the undo log does, in base64.
func (c *conn) undoa(r *request, a *arguments) error {
	tid, ok := parseUndoID(a.meta(0))
	st := &step{kind: stepUndo, serial: tid}
	if !ok && a.err == nil {
		st.serial = 0 // there is none with that tid, which the vote tells
	}
	return c.operate(r, a, 1, st)
}
