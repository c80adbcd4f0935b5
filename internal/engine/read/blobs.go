package read

import (
	"context"
	"fmt"
	"iter"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// Blobs yields every revision that has a blob, in no order. It reads the names
// of all files below A and B; a commit meanwhile may be left out, and
// one that is moved meanwhile may come twice.
func (r *Reader) Blobs(ctx context.Context) iter.Seq2[zodb.BlobRevision, error] {
	return untilClosed(ctx, r, r.blobs(ctx))
}

func (r *Reader) blobs(ctx context.Context) iter.Seq2[zodb.BlobRevision, error] {
	return func(yield func(zodb.BlobRevision, error) bool) {
		var inLog []zodb.BlobRevision
		for _, c := range r.o.State.Unflushed() {
			for i := range c.Records {
				if c.Records[i].Blob {
					inLog = append(inLog, zodb.BlobRevision{OID: c.Records[i].OID, TID: c.TID})
				}
			}
		}
		for _, b := range inLog {
			if !yield(b, nil) {
				return
			}
		}
		for n, err := range r.o.Store.Names(ctx, layout.KindBlob) {
			if err != nil {
				yield(zodb.BlobRevision{}, fmt.Errorf("list blobs: %w", err))
				return
			}
			if !yield(zodb.BlobRevision{OID: n.OID, TID: n.TID}, nil) {
				return
			}
		}
	}
}
