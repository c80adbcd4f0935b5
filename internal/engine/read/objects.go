package read

import (
	"context"
	"fmt"
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// OIDs yields the oid of every object, those included that do not exist any
// more and are not packed away, in no order. It reads the names of all files
// below A and B. A commit meanwhile may be left out, and an object
// that is written to meanwhile may come twice.
func (r *Reader) OIDs(ctx context.Context) iter.Seq2[zodb.OID, error] {
	return untilClosed(ctx, r, r.oids(ctx))
}

func (r *Reader) oids(ctx context.Context) iter.Seq2[zodb.OID, error] {
	return func(yield func(zodb.OID, error) bool) {
		// In the order in which revisions move: from the log to B to A, so that none
		// slips through.
		inLog := r.o.State.OIDs()
		for oid := range inLog {
			if !yield(oid, nil) {
				return
			}
		}
		for oid, err := range r.o.Store.Objects(ctx) {
			if err != nil {
				yield(0, fmt.Errorf("list objects: %w", err))
				return
			}
			if !inLog[oid] && !yield(oid, nil) {
				return
			}
		}
	}
}

// NextOID returns the smallest oid from one on that there is a name of, in the log or
// below A or B: as [Reader.OIDs], but that it may also be of an object that is packed away. It
// lists few directories, but of formats lawn and flat one with all objects. An error that matches
// zodb.ErrNotFound if there is none.
func (r *Reader) NextOID(ctx context.Context, from zodb.OID) (zodb.OID, error) {
	next, any := r.o.State.NextOID(from)
	take := func(oid zodb.OID) {
		if oid >= from && (!any || oid < next) {
			next, any = oid, true
		}
	}
	oid, found, err := r.o.Store.NextOID(ctx, from) // in the way that files take, after the log
	if err != nil {
		return 0, fmt.Errorf("list objects: %w", err)
	}
	if found {
		take(oid)
	}
	if !any {
		return 0, &zodb.KeyError{OID: from}
	}
	return next, nil
}

// Serials yields the tids under which the revisions of an object were stored,
// newest first, back to the oldest that was not packed away. Errors as Load,
// but that the object does not exist any more is none. A revision that is damaged comes
// with an error, and those before it may follow.
func (r *Reader) Serials(ctx context.Context, oid zodb.OID) iter.Seq2[zodb.TID, error] {
	return untilClosed(ctx, r, r.serials(ctx, oid))
}

func (r *Reader) serials(ctx context.Context, oid zodb.OID) iter.Seq2[zodb.TID, error] {
	return func(yield func(zodb.TID, error) bool) {
		at, err := r.newestRevision(ctx, oid)
		for err == nil && at.serial != 0 {
			if err = ctx.Err(); err != nil {
				break
			}
			if !yield(at.serial, at.damage) {
				return
			}
			at, err = r.revisionBefore(ctx, oid, at)
		}
		if err != nil {
			yield(0, err)
		}
	}
}
