package read

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// History returns up to n revisions of an object, newest first. It stops early
// after history_timeout, and at a revision that was packed away. A revision that is
// damaged or missing has an entry that says so, and those before it follow.
func (r *Reader) History(ctx context.Context, oid zodb.OID, n int) ([]zodb.HistoryEntry, error) {
	var list []zodb.HistoryEntry
	for e, err := range r.HistoryBackward(ctx, oid) {
		if err != nil {
			return list, err
		}
		if len(list) >= n {
			break
		}
		list = append(list, e)
		if len(list) == n {
			break
		}
	}
	return list, nil
}

// HistoryBackward yields the entries of History, one after the other.
func (r *Reader) HistoryBackward(ctx context.Context, oid zodb.OID) iter.Seq2[zodb.HistoryEntry, error] {
	return untilClosed(ctx, r, r.historyBackward(ctx, oid))
}

func (r *Reader) historyBackward(ctx context.Context, oid zodb.OID) iter.Seq2[zodb.HistoryEntry, error] {
	return func(yield func(zodb.HistoryEntry, error) bool) {
		at, err := r.newestRevision(ctx, oid)
		deadline := r.historyDeadline()
		for err == nil && at.serial != 0 {
			if err = ctx.Err(); err != nil {
				break
			}
			var e zodb.HistoryEntry
			if e, err = r.historyEntry(ctx, oid, at); err != nil {
				break
			}
			if !yield(e, nil) || deadline.passed() {
				return
			}
			at, err = r.revisionBefore(ctx, oid, at)
		}
		if err != nil {
			yield(zodb.HistoryEntry{}, err)
		}
	}
}

// visited is a revision on the way back through the history of an object: read, or damaged.
type visited struct {
	serial zodb.TID // 0: there is none
	object *record.Object
	damage error // object is nil
}

// visit tells damage from errors that end the way: the end of ctx, and ErrClosed.
func visit(ctx context.Context, serial zodb.TID, o *record.Object, err error) (visited, error) {
	if err != nil && (ctx.Err() != nil || errors.Is(err, zodb.ErrClosed)) {
		return visited{}, err
	}
	return visited{serial: serial, object: o, damage: err}, nil
}

// newestRevision returns the current revision. That there is none, or that it is not
// known which it is, is an error.
func (r *Reader) newestRevision(ctx context.Context, oid zodb.OID) (visited, error) {
	o, err := r.Current(ctx, oid)
	if err == nil {
		return visited{serial: o.Serial, object: o}, nil
	}
	serial, serr := r.Serial(ctx, oid)
	if serr != nil || serial == 0 {
		return visited{}, err
	}
	return visit(ctx, serial, nil, err)
}

// revisionBefore returns the revision before one. Which that is, a revision that is
// damaged cannot tell; then the names of files do.
func (r *Reader) revisionBefore(ctx context.Context, oid zodb.OID, at visited) (visited, error) {
	if at.object == nil {
		serial, err := r.olderRevision(oid, at.serial)
		if err != nil || serial == 0 {
			return visited{}, err
		}
		o, err := r.Revision(ctx, oid, serial)
		return visit(ctx, serial, o, err)
	}
	var p *record.Object
	err := r.validated(ctx, func() (err error) {
		p, err = r.previousOnce(at.object)
		return err
	})
	switch previous := at.object.Previous; {
	case err == nil && p == nil:
		return visited{}, nil
	case err == nil:
		return visited{serial: p.Serial, object: p}, nil
	case previous >= at.serial:
		return visited{}, err
	default:
		return visit(ctx, previous, nil, err)
	}
}

// olderRevision returns the newest revision before a serial of which there is a file, or
// that is in the log; 0 if there is none. It lists a directory.
func (r *Reader) olderRevision(oid zodb.OID, before zodb.TID) (older zodb.TID, err error) {
	older = r.o.State.OlderRevision(oid, before)
	tid, err := r.o.Store.OlderRevision(oid, before)
	if err != nil {
		return 0, err
	}
	return max(older, tid), nil
}

func (r *Reader) historyEntry(ctx context.Context, oid zodb.OID, at visited) (zodb.HistoryEntry, error) {
	e := zodb.HistoryEntry{TID: at.serial, Damage: at.damage, Exists: true}
	if o := at.object; o != nil {
		e.Size, e.Exists, e.HasBlob, e.UndoFrom = len(o.Data), !r.gone(o), o.HasBlob(), o.UndoFrom
	}
	if !r.o.Home.Full {
		return e, nil
	}
	t, err := r.Transaction(ctx, at.serial)
	switch {
	case err == nil:
		e.Meta = t.TxnMeta
	case errors.Is(err, zodb.ErrNotFound) && r.PackedAway(at.serial):
		e.Packed = true
	case errors.Is(err, zodb.ErrNotFound):
		e.Damage = errors.Join(e.Damage, r.lostTransaction(at.serial, fmt.Sprintf("a revision of object %s", oid)))
	case ctx.Err() != nil || errors.Is(err, zodb.ErrClosed):
		return e, err
	default:
		e.Damage = errors.Join(e.Damage, err)
	}
	return e, nil
}
