package packing

import (
	"context"
	"errors"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// The remains of a pack, ours or the original's, that was interrupted and could not go on:
// revisions of objects whose pointer is gone, or with a gap between them and those that stay, blobs
// whose revision is gone, and transactions (see [sweep.unlinkedTransactions]). Nothing leads to
// them, so the next pack looks for them among the names of A. Only remains that the last pack
// explains go: those that were replaced or unreachable before x.packed.

// strayBlob is a blob in A without its revision.
type strayBlob struct {
	oid zodb.OID
	tid zodb.TID
}

// maxStrayBlobs is how many blobs without a revision a pack removes at most. An
// interrupted step leaves fewer than stepFiles of them.
const maxStrayBlobs = 1 << 16

// lookForStray notes a blob of which the revision is gone.
func (r *packRun) lookForStray(blob layout.Name) error {
	if blob.TID >= r.packed || len(r.strayBlobs) == maxStrayBlobs {
		return nil
	}
	_, err := r.s.o.Store.Stat(layout.Revision(blob.OID, blob.TID))
	if errors.Is(err, fs.ErrNotExist) {
		r.strayBlobs = append(r.strayBlobs, strayBlob{blob.OID, blob.TID})
		return nil
	}
	return err
}

// before returns the time before which the last pack may have left transactions, and this
// one looks at them.
func (r *packRun) before() zodb.TID { return min(r.packed, r.header.Oldest) }

// planUnlinked writes the unlinked files into the plan.
func (r *packRun) planUnlinked(ctx context.Context) error {
	if err := r.strayRevisions(ctx); err != nil {
		return err
	}
	for _, b := range r.strayBlobs {
		goes, err := r.leftByPack(ctx, b)
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && goes {
			err = r.planBlob(b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leftByPack reports whether the last pack explains that a blob has no revision. If it
// does not, the revision was lost, and the blob is the rest of it.
func (r *packRun) leftByPack(ctx context.Context, b strayBlob) (bool, error) {
	if !r.listed.Has(b.oid) {
		return r.collected(ctx, b.oid), nil
	}
	// The object stays, so that pack may have removed revisions that were replaced before
	// it, unless keepclass says that it stays.
	newer, err := r.s.direct.OlderRevision(b.oid, r.packed+1)
	if err != nil || newer <= b.tid {
		return false, err
	}
	current, err := (patientSource{r.s.direct, r.p}).Current(ctx, b.oid)
	return err == nil && r.policy.Removes(current, newer, b.tid), nil // else its class is not known
}

// collected reports whether an object without a pointer is one that a pack removed.
func (r *packRun) collected(ctx context.Context, oid zodb.OID) bool {
	if r.o.NoGC || r.marker.Blind() || r.marker.Reached(oid) {
		return false
	}
	_, err := (patientSource{r.s.direct, r.p}).Current(ctx, oid)
	return errors.Is(err, pack.ErrNoObject) // else it has come meanwhile, or it cannot be read
}

// planBlob writes a blob without a revision into the plan.
func (r *packRun) planBlob(b strayBlob) error {
	size, err := r.s.o.Store.Stat(layout.Blob(b.oid, b.tid))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p.planned.Add(1)
	if r.o.DryRun {
		r.result.Blobs++
		r.result.Bytes += size
	}
	return r.writer.Add(pack.Entry{OID: b.oid, TIDs: []zodb.TID{b.tid}})
}

// strayRevisions writes into the plan the revisions that nothing leads to. As a rule there
// are none, which the numbers tell: all that are older than the last pack were looked at.
func (r *packRun) strayRevisions(ctx context.Context) error {
	r.mu.Lock()
	found := r.early > r.marker.Early()+r.going
	r.mu.Unlock()
	if !found {
		return nil
	}
	var h ownChain
	for n, err := range r.s.o.Store.Names(ctx, layout.KindRevision) {
		if err != nil {
			return err
		}
		if n.TID >= r.packed {
			continue
		}
		goes := false
		if !r.listed.Has(n.OID) {
			goes = r.collected(ctx, n.OID)
		} else {
			if h.oid != n.OID || h.current == nil {
				h = r.chainOf(ctx, n.OID)
			}
			goes = h.current != nil && h.lost(n.TID, r.packed) && r.policy.Removes(h.current, h.oldest, n.TID)
		}
		if goes {
			err = r.victims(pack.Entry{OID: n.OID, TIDs: []zodb.TID{n.TID}})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ownChain leads from the current revision of an object to older ones.
type ownChain struct {
	oid     zodb.OID
	current *record.Object // nil: something cannot be read, so nothing is known
	oldest  zodb.TID       // the last one that it leads to
}

// chainOf reads the chain of an object, as far as it is there.
func (r *packRun) chainOf(ctx context.Context, oid zodb.OID) ownChain {
	src := patientSource{r.s.direct, r.p}
	o, err := src.Current(ctx, oid)
	if err != nil {
		return ownChain{oid: oid}
	}
	tids, err := pack.Chain(ctx, src, oid, o.Serial, nil)
	if err != nil || len(tids) == 0 {
		return ownChain{oid: oid}
	}
	return ownChain{oid: oid, current: o, oldest: tids[len(tids)-1]}
}

// lost reports whether a revision is before the end of the chain, and the last pack, to
// that time, explains this end.
func (h ownChain) lost(tid, packed zodb.TID) bool { return tid < h.oldest && h.oldest <= packed }
