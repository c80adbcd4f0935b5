package txn

import (
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/oidlock"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// oldTID names the fault of a copied transaction's tid, and the way out.
func oldTID(tid, last zodb.TID, why string) error {
	return fmt.Errorf("%w: it is %s, and %s %s; copy only later transactions, or everything into an empty storage, or store it as a new transaction", zodb.ErrOldTID, tid, last, why)
}

// Vote locks the objects of the transaction, waiting for others that hold
// them, looks for conflicts and dangling references, and writes everything
// into the log, with room for the commit record: after it, Finish can fail
// only if the disk does. Blobs are durable when it returns.
//
// Errors: *ConflictsError, after which the transaction is still open and keeps
// its locks: store resolved records and vote again, or abort. With any other
// error the transaction is to be aborted: *zodb.DanglingError, *zodb.UndoError
// (joined, if there are more), *zodb.KeyError for a deletion of an object that was never stored,
// ErrDiskFull or ErrScarce (nothing is lost; the same can be tried again later),
// ErrOldTID, zodb.ErrReadOnly, ErrClosed, or that of ctx.
func (t *Txn) Vote(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.vote(ctx)
	if vfs.Passes(err) {
		return t.m.o.State.Refused(err)
	}
	return err
}

func (t *Txn) vote(ctx context.Context) error {
	if err := t.expect(txnOpen); err != nil {
		return err
	}
	ctx, cancel := t.m.untilClose(ctx)
	defer cancel()
	if t.lost != nil {
		return t.lost
	}
	if last := t.m.o.Read.LastTransaction(); t.given != 0 && t.given <= last {
		return oldTID(t.given, last, "is there already")
	}
	if err := t.m.admit(ctx, t); err != nil {
		return err
	}
	if err := t.lock(ctx); err != nil {
		return err
	}
	if !t.coming { // it waits for nobody any more
		t.coming = true
		t.m.commits.coming.Add(1)
	}
	if err := t.m.o.Guard.Pass(ctx, guarded{t}); err != nil {
		t.logRefused(err)
		return err
	}
	if err := t.compare(ctx); err != nil {
		if _, conflicts := errors.AsType[*zodb.ConflictsError](err); conflicts {
			t.resolve = true
		}
		return err
	}
	if t.m.o.Home.Settings.Storage.CheckDanglingReferences {
		if err := t.checkReferences(ctx); err != nil {
			t.logRefused(err)
			return err
		}
	}
	if err := t.syncBlobs(); err != nil {
		return err
	}
	if err := t.goFirst(ctx); err != nil {
		return err
	}
	if err := t.m.appendToLog(t); err != nil {
		t.m.commits.notFirst(t)
		return err
	}
	t.state = txnVoted
	t.slim()
	return nil
}

// goFirst makes sure that nothing is committed before a transaction with a given tid. It
// is the last thing that a vote waits for: see givenTID.
func (t *Txn) goFirst(ctx context.Context) error {
	if t.given == 0 {
		return nil
	}
	err := t.m.commits.goFirst(ctx, t, t.m.o.Read.LastTransaction)
	if errors.Is(err, errOvertaken) {
		return oldTID(t.given, t.m.o.Read.LastTransaction(), "was committed meanwhile")
	}
	return err
}

// slim drops the parts of a large copy that only its vote needs: they and the index over the
// log, which grows at the commit, may be more than there is memory for.
func (t *Txn) slim() {
	if t.given == 0 || t.spool.file == nil {
		return
	}
	t.slimmed = t.ops.oids()
	var left operations
	for op := range t.ops.all() {
		if op.gone || op.blob() != nil {
			left.put(op.oid, *op)
		}
	}
	t.ops = left
}

// untilClose returns a context that also ends when the storage is closed.
func (m *Manager) untilClose(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.o.Closing, func() { cancel(zodb.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// lock takes all locks of the transaction at once. Those that an earlier vote
// took are kept if they are enough.
func (t *Txn) lock(ctx context.Context) error {
	want := oidlock.NewSet(t.ops.n + len(t.checks))
	want.Owner = t.number
	for oid := range t.checks {
		want.Add(oidlock.Key{OID: oid}, false)
	}
	for op := range t.ops.all() {
		want.Add(oidlock.Key{OID: op.oid}, true)
		if op.gone {
			want.Add(oidlock.Key{OID: op.oid, Existence: true}, true)
		}
	}
	if t.m.o.Home.Settings.Storage.CheckDanglingReferences {
		var refs []zodb.OID
		for op := range t.ops.all() {
			var err error
			if refs, err = t.references(refs[:0], op); err != nil {
				return err
			}
			for _, target := range refs {
				want.Add(oidlock.Key{OID: target, Existence: true}, false)
			}
		}
	}
	if t.held != nil {
		if t.held.Covers(&want) {
			return nil
		}
		t.held.Unlock()
		t.held = nil
	}
	begun := t.m.o.Clock()
	held, waited, err := t.m.locks.Lock(ctx, want)
	if waited {
		t.m.o.Observer.LockWaited(t.m.o.Clock().Sub(begun))
	}
	if err != nil {
		return context.Cause(ctx)
	}
	t.held = held
	return nil
}

// compare compares serials with the current ones, under the locks.
func (t *Txn) compare(ctx context.Context) error {
	var conflicts []*zodb.ConflictError
	var refused []error
	for op := range t.ops.all() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		oid := op.oid
		current, err := t.m.o.Read.Serial(ctx, oid)
		if err != nil {
			return err
		}
		op.previous = current
		if op.kind == opUndo {
			c, err := t.offer(ctx, oid, op, current)
			switch {
			case errors.Is(err, zodb.ErrUndo):
				refused = append(refused, err)
			case err != nil:
				return err
			case c != nil:
				conflicts = append(conflicts, c)
			}
			continue
		}
		if op.kind == opDelete && current == 0 {
			return &zodb.KeyError{OID: oid, Reason: "it was never stored, so it cannot be deleted"}
		}
		if op.kind == opRestore || op.serial == current {
			continue
		}
		conflicts = append(conflicts, &zodb.ConflictError{OID: oid, Serial: op.serial, Current: current})
	}
	if refused != nil {
		return errors.Join(refused...)
	}
	for oid, serial := range t.checks {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		current, err := t.m.o.Read.Serial(ctx, oid)
		if err != nil {
			return err
		}
		if current != serial {
			conflicts = append(conflicts, &zodb.ConflictError{OID: oid, Serial: serial, Current: current, Read: true})
		}
	}
	if conflicts != nil {
		return &zodb.ConflictsError{Conflicts: conflicts}
	}
	return nil
}
