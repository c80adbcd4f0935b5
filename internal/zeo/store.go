package zeo

import (
	"bytes"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/zeo/stage"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// step is one operation of a transaction. Its fault is told at the vote.
type step struct {
	kind   stepKind
	oid    zodb.OID
	serial zodb.TID
	data   []byte   // a part of the frame until keep; nil in a restore: the object does not exist any more
	from   zodb.TID // of a restore: the revision whose data it has; 0 = its own
	blob   zodb.BlobSource
	failed error // a fault that was found when it came

	charged int64 // bytes of memory that its transaction has taken for it already
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
	c.take(x, st)
	return r.answer(nil)
}

// take does a step, or gives it to the vote that goes on, which begins anew with it. Other
// transactions take none: a vote may have failed just now.
func (c *conn) take(x *txn, st *step) {
	for {
		state := x.stage.Use(func(w *work) {
			if c.do(w, st); w.failed != nil {
				c.release(w)
			}
		})
		if state.Open() {
			return
		}
		if state == stage.Voting {
			state = x.stage.Join(st, func() { c.admit(x, st) })
		}
		switch {
		case state == stage.Voting:
			return
		case !state.Open(): // else its vote has met conflicts in between
			c.dropShared(st)
			return
		}
	}
}

// admit takes the memory of a step that comes late.
func (c *conn) admit(x *txn, st *step) {
	n := st.memory() + int64(len(st.data))
	if x.memory.late(n) {
		st.charged = n
	} else {
		st.failed, st.data = c.scarce("the data that arrives while a vote waits"), nil
	}
	st.keep()
}

// do does a step. After one that failed the transaction cannot be committed, so
// the others are passed over.
func (c *conn) do(w *work, st *step) {
	if w.failed == nil {
		w.failed = c.try(w, st)
	}
	if w.failed != nil {
		c.dropShared(st)
	}
}

// release gives back the resources of a transaction that has failed before its vote.
func (c *conn) release(w *work) {
	if w.t == nil || w.held {
		return
	}
	if err := w.t.Abort(); err != nil {
		c.log().Warn("could not remove an aborted transaction's files; the next open will", "err", err)
	}
	w.t = nil
	c.giveSteps(w)
}

// giveSteps gives back the memory of the steps of a transaction, after the storage has
// closed its file.
func (c *conn) giveSteps(w *work) {
	c.unpark(w)
	w.memory.end()
	c.srv.budgets.large.end(w.txn)
	if w.file {
		w.file = false
		c.has.spools.Give(1)
	}
}

func (c *conn) try(w *work, st *step) error {
	if st.failed != nil {
		return st.failed
	}
	w.bytes += int64(len(st.data))
	c.took(w, len(st.data))
	c.hub.largeOnes.stored(st.oid, len(st.data))
	if limit := c.srv.o.Limits.Transaction; w.bytes > limit {
		c.srv.o.Observer.Refused("transaction")
		return &pythonError{classStorage, wire.Tuple{fmt.Sprintf("the transaction has more than %d bytes of records, which is the limit max-transaction of the server", limit)}}
	}
	w.need += st.memory()
	if w.bytes <= c.srv.budgets.spool {
		w.need += int64(len(st.data))
	}
	if most := c.has.steps.MostInTurn() - parkedMemory; w.need > most {
		return c.tooLarge(most)
	}
	if w.parked == nil {
		n, err := c.weigh(w, st.memory(), len(st.data))
		if err != nil {
			return err
		}
		if c.srv.budgets.large.hold(c, w.txn, n-st.charged) {
			return c.store(w, st, n)
		}
	}
	if w.held { // it has locks, so it waits for nobody
		return c.scarce("a transaction of this many objects")
	}
	return c.park(w, st)
}

// weigh returns the memory of a step with a record of n bytes, and takes the file for records
// if there are many.
func (c *conn) weigh(w *work, memory int64, n int) (int64, error) {
	if w.inMemory+int64(n) <= c.srv.budgets.spool {
		return memory + int64(n), nil
	}
	return memory, c.takeTxnFile(w)
}

// store does a step for which there is the memory that weigh said.
func (c *conn) store(w *work, st *step, weight int64) error {
	w.memory.give(max(st.charged-weight, 0))
	st.charged = 0
	w.inMemory += weight - st.memory()
	return c.apply(w, st)
}

// takeTxnFile takes the files of a large transaction: that of its records, and that of the steps
// which are parked.
func (c *conn) takeTxnFile(w *work) error {
	if !w.file {
		if !c.has.spools.Try(1) {
			return c.noFile("a transaction of this many objects or bytes", "large transactions")
		}
		w.file = true
	}
	return nil
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

func (c *conn) dropAll(steps []*step) {
	for _, st := range steps {
		c.dropShared(st)
	}
}

func (c *conn) countStore() {
	c.hub.stats.stores.Add(1)
	c.tally.stores.Add(1)
}

func (c *conn) apply(w *work, st *step) error {
	if err := st.storable(); err != nil {
		return err
	}
	switch st.kind {
	case stepStore:
		c.countStore()
		return w.t.Store(st.oid, st.serial, st.data)
	case stepBlob:
		w.blobs = append(w.blobs, st.oid)
		return w.t.StoreBlob(st.oid, st.serial, st.data, st.blob)
	case stepDelete:
		c.countStore()
		return w.t.Delete(st.oid, st.serial)
	case stepRestore:
		c.countStore()
		return w.t.Restore(c.ctx, zodb.Record{OID: st.oid, TID: st.serial, Data: st.data, Exists: st.data != nil, DataTID: st.from}, nil)
	case stepCheck:
		// Nobody has read the current revision of an object that does not exist.
		if found, err := c.hub.storage.Exists(c.ctx, st.oid); err == nil && !found && st.serial == 0 {
			return &zodb.KeyError{OID: st.oid}
		}
		return w.t.CheckCurrent(st.oid, st.serial)
	case stepUndo:
		oids, err := w.t.Undo(c.ctx, st.serial)
		w.undone = append(w.undone, oids...)
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
