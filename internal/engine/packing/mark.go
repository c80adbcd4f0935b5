package packing

import (
	"context"
	"errors"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// How a pack finds the objects that stay. The names in A and B list the objects; the
// marker goes from the root object, and from those written lately, to all that can be
// reached; the guard adds those that transactions touch meanwhile. Nothing is condemned
// before the guard says that nothing was added.

// list finds out which objects there are.
func (r *packRun) list(ctx context.Context) error {
	r.p.phase("listing", r.s.o.Counter.Counts().Objects)
	for n, err := range r.s.o.Store.Names(ctx, layout.KindObject, layout.KindRevision, layout.KindTransaction, layout.KindBlob) {
		if err != nil {
			return err
		}
		ok := true
		switch n.Kind {
		case layout.KindObject:
			r.p.done.Add(1)
			ok, _ = r.listed.Add(n.OID)
		case layout.KindRevision:
			ok, _ = r.revisions.Add(n.OID)
			if n.TID < r.packed {
				r.early++
			}
		case layout.KindTransaction:
			if n.TID < r.before() {
				r.earlyTransactions++
			}
		case layout.KindBlob:
			if err := r.lookForStray(n); err != nil {
				return err
			}
		}
		if !ok {
			return errTooManyOIDs
		}
	}
	return nil
}

// mark runs the marker until the guard says that nothing came meanwhile.
func (r *packRun) mark(ctx context.Context) error {
	r.p.phase("marking", r.listed.Len())
	roots := func(yield func(zodb.OID) bool) { yield(0) }
	if r.o.NoGC {
		roots = r.listed.Each()
	}
	for oid := range roots {
		if err := r.marker.Add(oid); err != nil {
			return err
		}
	}
	stop := r.watch()
	defer stop()
	if err := r.markNewest(ctx); err != nil {
		return err
	}
	for {
		if err := r.marker.Run(ctx); err != nil {
			return err
		}
		if err := r.lostPointers(ctx); err != nil {
			return err
		}
		done, err := r.s.guard.condemn(r.v, r.listed, r.o.SkipBroken)
		if done || err != nil {
			return err
		}
	}
}

// recent marks the objects written by the transactions that are not older than the
// threshold, or among the two newest, unless min_pack_time is 0. It leaves those to markNewest
// that stay for the latter reason alone. It returns the oldest of the transactions. If there is
// none, it returns the last transaction, which stays even if none of its revisions does.
// Of the objects an earlier pack, to a later time, may have removed some.
func (r *packRun) recent(ctx context.Context) (oldest zodb.TID, err error) {
	least := 2
	if r.exact() {
		least = 0
	}
	for t, err := range r.s.direct.TransactionsBackward(ctx, 0) {
		if err != nil {
			return 0, err
		}
		if oldest == 0 {
			oldest = t.TID
		}
		if t.TID < r.policy.Threshold && least <= 0 {
			break
		}
		least--
		oldest = t.TID
		if t.TID < r.wanted && !r.o.NoGC {
			r.newest = append(r.newest, t.TID)
			continue
		}
		for _, oid := range t.OIDs {
			if r.o.NoGC {
				if ok, _ := r.v.spared.Add(oid); !ok {
					return 0, errTooManyOIDs
				}
			}
			if err := r.marker.Keep(oid); err != nil {
				return 0, err
			}
		}
	}
	return oldest, nil
}

// lostPointers makes sure that an object that is referred to and does not exist has no
// revisions. Otherwise its pointer was lost, and its references are unknown.
func (r *packRun) lostPointers(ctx context.Context) error {
	for oid := range r.marker.Absent().Without(r.judged) {
		if ok, _ := r.judged.Add(oid); !ok {
			return errTooManyOIDs
		}
		if !r.revisions.Has(oid) {
			continue
		}
		if _, err := (patientSource{r.s.direct, r.p}).Current(ctx, oid); !errors.Is(err, pack.ErrNoObject) {
			continue // it has come meanwhile
		}
		b := &zodb.BrokenError{OID: oid, Err: errors.New("it has revisions, and its pointer is missing: after an undelete that was interrupted, “pack --undelete all” brings it back; else see “check”")}
		if !r.o.SkipBroken {
			return b
		}
		r.broken(b)
		r.marker.SetBlind()
	}
	return nil
}

func (r *packRun) broken(b *zodb.BrokenError) {
	r.s.o.Log.Warn("pack passes over an object", "oid", b.OID, "err", b.Err)
	_, syntax := errors.AsType[*pickle.SyntaxError](b.Err)
	r.index.skip(!syntax && !errors.Is(b.Err, pickle.ErrTooLarge))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Broken++
	if len(r.result.BrokenList) < maxBrokenList {
		r.result.BrokenList = append(r.result.BrokenList, zodb.PackBroken{OID: b.OID, Reason: b.Err.Error()})
	}
}
