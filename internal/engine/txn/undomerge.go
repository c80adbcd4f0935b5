package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// Undo of objects that were changed later. There are no classes here, so the caller merges,
// as it resolves the conflict of a store: the vote fails with a ConflictsError in which
// Undo is set; the caller merges three records, stores the result, and votes again. An undo
// is a change of an object from the undone revision to the one before; it is made to the
// current one. Several undos of one object are several such
// changes. Those that follow each other are made as one; the others one after the
// other, each with a vote of its own.

// maxMerges bounds the changes that are made one after the other: Python's client
// gives up at its ninth vote.
const maxMerges = 8

// undoStep is a change of an object from one revision to another.
type undoStep struct{ undone, before zodb.TID }

// undoMerge is the unfinished part of the undo of an object. The data of its operation are
// the record to merge the first step with, or the record that the caller merged before.
type undoMerge struct {
	steps []undoStep
	// base is the revision that the first step changes; 0: the record that the caller merged before.
	base zodb.TID
	// answer is the serial with which the merged record has to come.
	answer zodb.TID
	// rebase: the record merged before is to be merged with another current
	// revision, before the first step.
	rebase bool
}

// undoing returns the undos of an object in this transaction, target's included.
func (t *Txn) undoing(target *record.Object) []undoStep {
	var done []undoStep
	if op := t.ops.get(target.OID); op != nil && op.kind == opUndo {
		done = op.aside().undoes
	}
	return append(slices.Clone(done), undoStep{target.Serial, target.Previous})
}

// mergeLater returns the operation that undoes target, an object that was changed
// later; nil if that cannot be merged. serial is that of the current revision.
func (t *Txn) mergeLater(ctx context.Context, target *record.Object, serial zodb.TID) (*operation, error) {
	base, left := serial, []undoStep{{target.Serial, target.Previous}}
	if op := t.ops.get(target.OID); op != nil {
		if op.kind != opUndo || op.gone {
			return nil, nil
		}
		base = op.aside().undoFrom
		if m := op.aside().merge; m != nil {
			base, left = m.base, append(slices.Clone(m.steps), left...)
		}
		serial = op.serial
	}
	return t.merging(ctx, target.OID, serial, base, left, t.undoing(target))
}

// merging returns the operation that makes the steps left to the revision base of
// an object; nil if they cannot be merged. undoes are all undos of the object.
func (t *Txn) merging(ctx context.Context, oid zodb.OID, serial, base zodb.TID, left, undoes []undoStep) (*operation, error) {
	if t.mergeable == nil || base == 0 {
		return nil, nil
	}
	left = shorten(left)
	for len(left) > 0 && left[0].undone == base {
		base, left = left[0].before, left[1:]
	}
	more := &aside{undoFrom: base, undoes: undoes}
	op := &operation{kind: opUndo, serial: serial, more: more}
	brings := base
	if len(left) > 0 {
		more.undoFrom, more.merge = 0, &undoMerge{steps: left, base: base}
		brings = left[0].before
	}
	revisions := []zodb.TID{serial, base, brings}
	for _, st := range left {
		revisions = append(revisions, st.undone, st.before)
	}
	ok, err := t.sameClass(ctx, oid, revisions)
	if !ok || err != nil {
		return nil, err
	}
	if len(left) > maxMerges {
		return nil, &zodb.UndoError{TID: left[0].undone, OID: oid, Reason: fmt.Sprintf(
			"it was changed later, and there are %d changes to merge one by one, where %d are possible: undo fewer transactions at once", len(left), maxMerges)}
	}
	o, err := t.m.o.Read.Revision(ctx, oid, brings)
	if err != nil {
		return nil, err
	}
	op.data, err = t.spool.add(o.Data)
	return op, err
}

// shorten puts steps into the order in which they are made, latest first, and makes
// one of those that follow each other.
func shorten(steps []undoStep) []undoStep {
	steps = slices.SortedFunc(slices.Values(steps), func(a, b undoStep) int { return cmp.Compare(b.undone, a.undone) })
	short := steps[:0]
	for _, st := range steps {
		if n := len(short); n > 0 && short[n-1].before == st.undone {
			short[n-1].before = st.before
		} else {
			short = append(short, st)
		}
	}
	return short
}

// sameClass reports whether revisions of an object can be merged: all are there, are
// of one class that the caller merges, and have no blob.
func (t *Txn) sameClass(ctx context.Context, oid zodb.OID, revisions []zodb.TID) (bool, error) {
	slices.Sort(revisions)
	class := ""
	for _, tid := range slices.Compact(revisions) {
		if tid == 0 {
			return false, nil
		}
		o, err := t.m.o.Read.Revision(ctx, oid, tid)
		if errors.Is(err, zodb.ErrNotFound) || errors.Is(err, zodb.ErrCorrupt) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if o.Gone() || o.HasBlob() {
			return false, nil
		}
		module, name, err := pickle.Class(o.Data)
		if err != nil {
			return false, nil
		}
		if class == "" {
			class = module + "." + name
		}
		if class != module+"."+name {
			return false, nil
		}
	}
	return t.mergeable(class), nil
}

// offer returns the conflict that the caller is to resolve for an undo; nil if none
// is left. current is the current revision, under the lock.
func (t *Txn) offer(ctx context.Context, oid zodb.OID, op *operation, current zodb.TID) (*zodb.ConflictError, error) {
	undoes := op.aside().undoes
	refused := &zodb.UndoError{TID: undoes[len(undoes)-1].undone, OID: oid, Reason: fmt.Sprintf("it was changed by %s meanwhile", current)}
	if m := op.aside().merge; op.serial != current && (m == nil || m.base != 0) {
		if op.gone {
			return nil, refused
		}
		again, err := t.merging(ctx, oid, current, current, undoes, undoes)
		if err != nil {
			return nil, err
		}
		// Without a merge the new record would come without locks on the targets of its references.
		if again == nil || again.aside().merge == nil {
			return nil, refused
		}
		again.oid, again.previous = oid, op.previous
		*op = *again
	}
	m := op.aside().merge
	if m == nil {
		return nil, nil
	}
	c := &zodb.ConflictError{OID: oid, Serial: m.steps[0].undone, Current: m.base, Undo: true}
	if m.rebase = op.serial != current; m.rebase {
		c.Serial, c.Current = op.serial, current
	} else if m.base == 0 {
		// Nobody can load the record merged before, so it comes as the new state, and the
		// state before the undone one as the committed one.
		c.Current = m.steps[0].before
	}
	m.answer = c.Current
	return c, nil
}

// merged returns the operation with which an undo goes on when the caller has
// brought a merged record; nil if the serial says that it is none.
func (op *operation) merged(serial zodb.TID, data spooled) *operation {
	m := op.aside().merge
	if m == nil || m.answer == 0 || serial != m.answer {
		return nil
	}
	merge := &undoMerge{steps: m.steps}
	next := &operation{kind: opUndo, serial: op.serial, data: data, more: &aside{undoes: op.aside().undoes, merge: merge}}
	if m.rebase {
		next.serial = serial
		return next
	}
	if merge.steps = m.steps[1:]; len(merge.steps) > 0 {
		return next
	}
	return &operation{kind: opStore, serial: op.serial, data: data}
}
