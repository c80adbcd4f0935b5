package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// A transaction is refused if it adds a reference to an object that does not
// exist. A reference that the current revision of the object has already is accepted:
// else the holder of an old dangling reference could never be changed again.
// The option check_kept_references refuses those too.

// referring reports whether the references of the new record are checked. Those of a record
// that an undo brings back are too: their targets may have been deleted or packed away since.
// Restored records come from another storage.
func (op *operation) referring() bool {
	return !op.gone && (op.kind == opStore || op.kind == opUndo)
}

// references appends the strong references of an operation's record. A record that is not a
// pickle has none: applications may encrypt or wrap theirs.
func (t *Txn) references(dst []zodb.OID, op *operation) ([]zodb.OID, error) {
	if !op.referring() {
		return dst, nil
	}
	data, err := t.spool.get(op.data)
	if err != nil {
		return dst, err
	}
	refs, err := pickle.AppendStrongRefs(dst, data)
	if err != nil {
		return dst, nil
	}
	return refs, nil
}

// checkReferences refuses dangling references: those that the transaction adds,
// and those to objects that an undo removes. The existence locks of all that it
// refers to are held, so nothing of that is deleted meanwhile.
func (t *Txn) checkReferences(ctx context.Context) error {
	var refs []zodb.OID
	for op := range t.ops.all() {
		oid := op.oid
		var err error
		if refs, err = t.references(refs[:0], op); err != nil {
			return err
		}
		err = t.checkAdded(ctx, oid, op.previous, refs)
		if d, ok := errors.AsType[*zodb.DanglingError](err); ok && op.kind == opUndo {
			return &zodb.UndoError{TID: t.undone[len(t.undone)-1], OID: oid, Reason: fmt.Sprintf("it would refer to object %s again, which does not exist any more", d.Target), Err: d}
		}
		if err != nil {
			return err
		}
	}
	return t.checkUndoneReferences(ctx)
}

// checkAdded returns a *zodb.DanglingError if one of the references of an object,
// which are ascending, leads nowhere, and the revision that is replaced has not the
// same. A reference to an object that this transaction deletes is refused in any case.
// previous is the current revision, 0 if there is none.
func (t *Txn) checkAdded(ctx context.Context, from zodb.OID, previous zodb.TID, refs []zodb.OID) error {
	var held []zodb.OID
	read := t.m.o.Home.Settings.Storage.CheckKeptReferences || previous == 0
	for _, target := range refs {
		if op := t.ops.get(target); op != nil {
			if op.gone {
				return &zodb.DanglingError{OID: from, Target: target}
			}
			continue
		}
		found, err := t.m.o.Read.ExistsUnderLock(ctx, target)
		if err != nil {
			return err
		}
		if found {
			continue
		}
		if !read {
			read = true
			if held, err = t.m.heldReferences(ctx, from); err != nil {
				return err
			}
		}
		if _, kept := slices.BinarySearch(held, target); !kept {
			return &zodb.DanglingError{OID: from, Target: target}
		}
	}
	return nil
}

// heldReferences returns the strong references of the current revision of an
// object, ascending. A damaged one, or one that is not a pickle, has none: nobody can
// say that a reference was in it.
func (m *Manager) heldReferences(ctx context.Context, oid zodb.OID) ([]zodb.OID, error) {
	o, err := m.o.Read.Current(ctx, oid)
	if err == nil {
		if refs, err := pickle.AppendStrongRefs(nil, o.Data); err == nil {
			return refs, nil
		}
		return nil, nil
	}
	if errors.Is(err, zodb.ErrCorrupt) {
		m.o.Log.Warn("the current revision is damaged, so all references of the next one count as new", "oid", oid, "err", err)
		return nil, nil
	}
	if errors.Is(err, zodb.ErrNotFound) {
		return nil, nil
	}
	return nil, err
}

// logRefused notes a transaction that was refused for a dangling reference. Clients
// show their users less.
func (t *Txn) logRefused(err error) {
	d, ok := errors.AsType[*zodb.DanglingError](err)
	if !ok {
		return
	}
	class := "unknown"
	if op := t.ops.get(d.OID); op != nil && !op.gone {
		if data, err := t.spool.get(op.data); err == nil {
			if module, name, err := pickle.Class(data); err == nil {
				class = module + "." + name
			}
		}
	}
	t.m.o.Log.Warn("refused a transaction that would leave a dangling reference", "class", class, "oid", d.OID, "target", d.Target)
}
