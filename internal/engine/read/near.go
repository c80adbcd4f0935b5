package read

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// near reads the records of one transaction of a storage that is read-only, where each read alone would
// look first whether another process has moved files.
type near struct {
	s store.Near // nil: there is none
}

// near begins to read records. A storage that is written to has none: removed files would keep their room
// on the disk for as long as a slow iteration takes.
func (r *Reader) near() near {
	s, ok := r.o.Store.(store.Nearer)
	if !ok || !r.o.ReadOnly || !r.o.Home.Full {
		return near{}
	}
	of, err := s.Near()
	if err != nil {
		return near{} // each read tells
	}
	return near{of}
}

func (n near) release() {
	if n.s != nil {
		_ = n.s.Release() // that a file that was read could not be closed harms nobody
	}
}

// recordNear is LoadRecord, of a store that is read quickly. Anything out of the ordinary is left to
// LoadRecord.
func (r *Reader) recordNear(ctx context.Context, near near, oid zodb.OID, serial zodb.TID) (zodb.Record, error) {
	if near.s != nil {
		if o := r.revisionNear(near.s, oid, serial); o != nil {
			return r.recordOf(ctx, o)
		}
	}
	return r.LoadRecord(ctx, oid, serial)
}

// revisionNear returns a revision of the store; nil: it is in the log, or cannot be read.
func (r *Reader) revisionNear(s store.Near, oid zodb.OID, serial zodb.TID) *record.Object {
	if _, ok := r.o.State.Revision(oid, serial); ok {
		return nil
	}
	b, where, err := s.Get(layout.Revision(oid, serial))
	if err != nil {
		return nil
	}
	o, err := record.ParseObjectAs(b, where, oid, serial, r.o.Home.Settings.MD5Policy.Read)
	if err != nil {
		return nil
	}
	return o
}
