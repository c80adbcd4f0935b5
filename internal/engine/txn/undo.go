package txn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// Undo makes this transaction take back an earlier one, and returns
// the oids concerned. Each object of that one must still be as it left it, or
// as an undo brought it back; else the error joins a *zodb.UndoError for each
// that is not (errors.Join), and nothing of the undo is a part of this
// transaction. One about the transaction as a whole is a single *zodb.UndoError.
// Several undos in one transaction see each other. Whether a change came in
// between is looked at again at vote. With BeginOptions.Mergeable, objects of such
// classes may have been changed later: the vote asks for merged records.
func (t *Txn) Undo(ctx context.Context, tid zodb.TID) ([]zodb.OID, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.m.o.Home.Full {
		return nil, fmt.Errorf("undo %s: %w", tid, zodb.ErrUnsupported)
	}
	if err := t.expect(txnOpen); err != nil {
		return nil, err
	}
	undone, err := t.m.o.Read.Transaction(ctx, tid)
	if errors.Is(err, zodb.ErrNotFound) {
		return nil, &zodb.UndoError{TID: tid, Whole: true, Reason: "there is no such transaction, or it was packed away", Err: err}
	}
	if err != nil {
		return nil, err
	}
	if undone.Status == zodb.StatusPacked {
		return nil, &zodb.UndoError{TID: tid, Whole: true, Reason: "it was packed, so the revisions that it replaced are not known any more"}
	}
	// All of it or nothing: the operations are put when every object was found good.
	ops := make([]*operation, len(undone.OIDs))
	var refused []error
	for i, oid := range undone.OIDs {
		ops[i], err = t.undoObject(ctx, tid, oid, len(refused) > 0)
		if errors.Is(err, zodb.ErrUndo) {
			refused = append(refused, err)
		} else if err != nil {
			return nil, err
		}
	}
	if refused != nil {
		return nil, errors.Join(refused...)
	}
	for i, oid := range undone.OIDs {
		t.ops.put(oid, *ops[i])
	}
	t.undone = append(t.undone, tid)
	return undone.OIDs, nil
}

// undoObject returns the operation that takes back the change of one object by tid.
// With only it just looks whether that is possible.
func (t *Txn) undoObject(ctx context.Context, tid zodb.TID, oid zodb.OID, only bool) (*operation, error) {
	refuse := func(reason string, err error) error {
		return &zodb.UndoError{TID: tid, OID: oid, Reason: reason, Err: err}
	}
	target, err := t.m.o.Read.Revision(ctx, oid, tid)
	if errors.Is(err, zodb.ErrNotFound) {
		if why := t.m.o.Read.WhyNoRevision(oid, tid); why != nil {
			return nil, refuse("its revision is lost", why)
		}
		return nil, refuse("the revision was packed away", err)
	}
	if errors.Is(err, zodb.ErrCorrupt) {
		return nil, refuse("its revision is damaged", err)
	}
	if err != nil {
		return nil, err
	}
	now, serial, err := t.presentState(ctx, oid)
	if errors.Is(err, zodb.ErrCorrupt) {
		return nil, refuse("its current revision is damaged", err)
	}
	if err != nil {
		return nil, err
	}
	same := now.Serial == tid
	if !same {
		if same, err = t.sameState(ctx, now, target); errors.Is(err, zodb.ErrCorrupt) {
			return nil, refuse("its blob is damaged", err)
		} else if err != nil {
			return nil, err
		}
	}
	if before := t.ops.get(oid); before != nil && before.aside().merge != nil || !same {
		if op, err := t.mergeLater(ctx, target, serial); op != nil || err != nil {
			return op, err
		}
		return nil, refuse(fmt.Sprintf("it was changed later, by %s", now.Serial), nil)
	}
	more := &aside{undoes: t.undoing(target)}
	op := &operation{kind: opUndo, serial: serial, more: more}
	if target.Previous == 0 && oid == zodb.RootOID {
		return nil, refuse("it made the root object, without which there is no database", nil)
	}
	if target.Previous == 0 {
		op.gone = true
		return op, nil
	}
	before, err := t.m.o.Read.Revision(ctx, oid, target.Previous)
	if errors.Is(err, zodb.ErrNotFound) {
		if why := t.m.o.Read.WhyNoPrevious(target); errors.Is(why, zodb.ErrCorrupt) {
			return nil, refuse("the revision before is lost", why)
		} else if why != nil {
			return nil, why
		}
		return nil, refuse("the revision before was packed away", err)
	}
	if errors.Is(err, zodb.ErrCorrupt) {
		return nil, refuse("the revision before is damaged", err)
	}
	if err != nil {
		return nil, err
	}
	if before.Gone() {
		op.gone = true
		return op, nil
	}
	more.undoFrom = before.Serial
	if only {
		return op, nil
	}
	if op.data, err = t.spool.add(before.Data); err != nil {
		return nil, err
	}
	if before.HasBlob() {
		if more.blob, err = t.stageCopy(ctx, before); err != nil {
			return nil, err
		}
	}
	return op, nil
}

// presentState returns the object as this transaction sees it, and the serial that is
// current in the storage.
func (t *Txn) presentState(ctx context.Context, oid zodb.OID) (*record.Object, zodb.TID, error) {
	op := t.ops.get(oid)
	if op == nil {
		o, err := t.m.o.Read.Current(ctx, oid)
		if err != nil {
			return nil, 0, err
		}
		return o, o.Serial, nil
	}
	data, err := t.spool.get(op.data)
	if err != nil {
		return nil, 0, err
	}
	o := &record.Object{OID: oid, Data: data, UndoFrom: op.aside().undoFrom}
	if b := op.blob(); b != nil {
		o.BlobSum = b.sum
	}
	return o, op.serial, nil
}

// sameState reports whether an object as this transaction sees it is in the state that a revision
// left. Sums of two kinds say nothing about each other: then the blob of the revision is read.
func (t *Txn) sameState(ctx context.Context, now, target *record.Object) (bool, error) {
	if string(now.Data) != string(target.Data) {
		return false, nil
	}
	if now.BlobSum == target.BlobSum || now.BlobSum.Comparable(target.BlobSum) {
		return now.BlobSum == target.BlobSum, nil
	}
	src, err := t.m.o.Read.OpenBlob(ctx, target.OID, target.Serial)
	if err != nil {
		return false, err
	}
	h := now.BlobSum.Hash()
	_, err = io.Copy(h, src)
	if err = errors.Join(err, src.Close()); err != nil {
		return false, fmt.Errorf("compare the blob of object %s at %s: %w", target.OID, target.Serial, err)
	}
	return h.BlobSum() == now.BlobSum, nil
}

// stageCopy copies the blob of a revision. A hard link would do for reading,
// but its time stamp and link count are those of a file that may be part of a
// snapshot.
func (t *Txn) stageCopy(ctx context.Context, o *record.Object) (*stagedBlob, error) {
	src, err := t.m.o.Read.OpenBlob(ctx, o.OID, o.Serial)
	if err != nil {
		return nil, err
	}
	// With a sum of the same kind, so that equal blobs have equal sums.
	b := &stagedBlob{name: t.m.stagedName("blob")}
	t.blobs = append(t.blobs, b)
	err = t.m.stageStream(b, src, o.BlobSum.Hash())
	if err = errors.Join(err, src.Close()); err != nil {
		return nil, fmt.Errorf("copy the blob of object %s at %s: %w", o.OID, o.Serial, t.m.o.State.Refused(err))
	}
	if b.sum != o.BlobSum {
		return nil, &zodb.CorruptError{Path: t.m.o.Home.FS.Path(b.name), OID: o.OID, TID: o.Serial, Reason: "the blob has not the checksum that its revision names"}
	}
	return b, nil
}

// checkUndoneReferences refuses to undo a creation while something refers to
// the object. Only records of the undone transaction and of later ones can, so it is
// enough to look at the objects changed since then. The existence locks are held, so
// nobody adds a reference meanwhile.
func (t *Txn) checkUndoneReferences(ctx context.Context) error {
	if len(t.undone) == 0 {
		return nil
	}
	gone := make(map[zodb.OID]bool)
	for op := range t.ops.all() {
		if op.kind == opUndo && op.gone {
			gone[op.oid] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	seen := make(map[zodb.OID]bool)
	var refs []zodb.OID
	look := func(oid zodb.OID, data []byte) error {
		var err error
		if refs, err = pickle.AppendStrongRefs(refs[:0], data); err != nil {
			return nil // not a pickle: its content is the application's
		}
		for _, target := range refs {
			if gone[target] {
				return &zodb.UndoError{TID: t.undone[len(t.undone)-1], OID: target, Reason: "something still refers to it",
					Err: &zodb.DanglingError{OID: oid, Target: target}}
			}
		}
		return nil
	}
	for op := range t.ops.all() {
		oid := op.oid
		seen[oid] = true
		if op.gone {
			continue
		}
		data, err := t.spool.get(op.data)
		if err != nil {
			return err
		}
		if err := look(oid, data); err != nil {
			return err
		}
	}
	oldest := slices.Min(t.undone)
	for txn, err := range t.m.o.Read.TransactionsBackward(ctx, 0) {
		if err != nil {
			return err
		}
		if txn.TID < oldest {
			break
		}
		for _, oid := range txn.OIDs {
			if seen[oid] {
				continue
			}
			seen[oid] = true
			o, err := t.m.o.Read.Current(ctx, oid)
			if errors.Is(err, zodb.ErrNotFound) || err == nil && o.Gone() {
				continue
			}
			if err != nil {
				return err
			}
			if err := look(oid, o.Data); err != nil {
				return err
			}
		}
	}
	// A pack says to when it packs before it removes a transaction, and then the way back
	// may have led past some.
	if t.m.o.Read.PackedAway(oldest) {
		return &zodb.UndoError{TID: oldest, Whole: true, Reason: "it was packed since, so the references to the objects that it made are not known"}
	}
	return nil
}
