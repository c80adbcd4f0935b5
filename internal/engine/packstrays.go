package engine

import (
	"context"
	"errors"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// What a pack, ours or the original's, left when it was interrupted and could not go on:
// its plan is given up beside another A, a copy for one. Only what the last pack
// explains goes.

// strays writes into the plan the revisions of objects that have no pointer, and the
// blobs of revisions that are gone.
func (r *packRun) strays(ctx context.Context) error {
	found := r.strayBlobs
	for oid := range r.revisions.Without(r.listed) {
		found = found || !r.marker.Reached(oid)
	}
	if !found || r.o.NoGC || r.marker.Blind() {
		return nil
	}
	for name, err := range vfs.Walk(r.s.fs, "A") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		n, ok := r.s.tree.Format().Parse(name[2:])
		if !ok {
			continue
		}
		switch {
		case n.Kind == layout.KindRevision && r.strayRevision(ctx, n):
			err = r.victims(pack.Entry{OID: n.OID, TIDs: []zodb.TID{n.TID}})
		case n.Kind == layout.KindBlob && (r.listed.Has(n.OID) || !r.marker.Reached(n.OID)) && r.strayBlob(n):
			err = r.blobGoes(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// strayRevision reports whether the object of a revision has no pointer, and nothing reaches it.
func (r *packRun) strayRevision(ctx context.Context, n layout.Name) bool {
	if n.TID >= r.packed || r.listed.Has(n.OID) || r.marker.Reached(n.OID) {
		return false
	}
	// Else it has come meanwhile, or it cannot be read.
	_, err := (patientSource{packSource{r.s}, r.p}).Current(ctx, n.OID)
	return errors.Is(err, pack.ErrNoObject)
}

// strayBlob reports whether the revision of a blob is gone.
func (r *packRun) strayBlob(n layout.Name) bool {
	if n.TID >= r.packed {
		return false
	}
	_, _, err := r.s.tree.Stat(layout.Revision(n.OID, n.TID))
	return errors.Is(err, fs.ErrNotExist)
}

// blobGoes writes a blob into the plan whose revision is gone.
func (r *packRun) blobGoes(n layout.Name) error {
	r.p.planned.Add(1)
	if !r.o.DryRun {
		return r.plan.Add(pack.Entry{OID: n.OID, TIDs: []zodb.TID{n.TID}})
	}
	info, _, err := r.s.tree.Stat(n)
	r.result.Blobs++
	r.result.Bytes += info.Size
	return err
}
