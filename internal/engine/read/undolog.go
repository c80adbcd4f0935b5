package read

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// UndoLog yields transactions from the newest back, with whether the files
// that an undo needs are there and sound: an object that is damaged makes the
// transactions that wrote it not undoable, and no others. Of a transaction that cannot be
// read itself the TID is all that is told. Whether a later change
// stands in the way is seen by [Txn.Undo]. It ends before the first transaction that was
// packed, as that of ZODB's FileStorage, and early after history_timeout.
func (r *Reader) UndoLog(ctx context.Context) iter.Seq2[zodb.UndoEntry, error] {
	return untilClosed(ctx, r, r.undoLog(ctx))
}

func (r *Reader) undoLog(ctx context.Context) iter.Seq2[zodb.UndoEntry, error] {
	return func(yield func(zodb.UndoEntry, error) bool) {
		deadline := r.historyDeadline()
		for t, err := range r.TransactionsBackward(ctx, 0) {
			if err == nil && t.Status == zodb.StatusPacked {
				return
			}
			e := zodb.UndoEntry{Transaction: t}
			switch {
			case err == nil:
				err = r.undoable(ctx, &e)
			case errors.Is(err, zodb.ErrBrokenLink): // of the one before, which is in the list
				r.o.Log.Error("damage in the history of the storage", "tid", t.TID, "err", err)
				continue
			case t != nil:
				e.Reason, e.Damage, err = "the transaction cannot be read", err, nil
			}
			if err != nil {
				yield(zodb.UndoEntry{}, err)
				return
			}
			if !yield(e, nil) || deadline.passed() {
				return
			}
		}
	}
}

// undoable completes an entry. The error is that of ctx, or ErrClosed.
func (r *Reader) undoable(ctx context.Context, e *zodb.UndoEntry) error {
	for _, oid := range e.OIDs {
		if err := ctx.Err(); err != nil {
			return err
		}
		reason, err := r.notUndoable(ctx, oid, e.TID)
		switch {
		case err != nil && (ctx.Err() != nil || errors.Is(err, zodb.ErrClosed)):
			return err
		case err != nil:
			e.Reason, e.Damage = fmt.Sprintf("object %s cannot be read", oid), err
			return nil
		case reason != "":
			e.Reason = reason
			return nil
		}
	}
	e.Undoable = true
	return nil
}

// notUndoable returns why a revision cannot be taken back; "" if it can.
func (r *Reader) notUndoable(ctx context.Context, oid zodb.OID, tid zodb.TID) (reason string, err error) {
	o, err := r.Revision(ctx, oid, tid)
	if errors.Is(err, zodb.ErrNotFound) {
		if err = r.WhyNoRevision(oid, tid); err == nil {
			return fmt.Sprintf("the revision of object %s was packed away", oid), nil
		}
		return "", err
	}
	if err != nil || o.Previous == 0 {
		return "", err
	}
	var p *record.Object
	err = r.validated(ctx, func() error {
		p, err = r.previousOnce(o)
		return err
	})
	if err == nil && p == nil {
		return fmt.Sprintf("the revision before, of object %s, was packed away", oid), nil
	}
	return "", err
}
