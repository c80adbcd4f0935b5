package packing

import (
	"context"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// freeing works out how much of a pack's removals is free space when it ends, and how much later.
type freeing struct {
	s    *Packer
	gone int64 // bytes gone for good inside files, before the pack removed anything
}

// weigh returns the bytes inside files that packs have removed for good, and those that the pack
// with a stamp has put aside. If they cannot be weighed, because of damage, they are an estimate.
func (f *freeing) weigh(ctx context.Context, stamp int64) (gone, aside int64, inside bool) {
	r, inside := f.s.o.Store.Removed()
	if inside {
		if weighed, err := f.s.o.Store.Weigh(ctx); err == nil {
			r = weighed
		}
	}
	return r.Gone.Bytes, r.Aside[stamp].Bytes, inside
}

// begin is called before anything is removed.
func (f *freeing) begin(ctx context.Context) { f.gone, _, _ = f.weigh(ctx, 0) }

// removed is called when the removals are durable, and nothing else is gone for good since begin.
func (f *freeing) removed(ctx context.Context, w *sweep) {
	stamp := w.stamp()
	gone, aside, inside := f.weigh(ctx, stamp)
	files := w.took.EstimateDisk()
	if inside {
		files = w.took.BlobBytes
	}
	if stamp == 0 {
		w.result.FreedBytes = files
		w.result.LaterBytes = max(0, gone-f.gone)
		return
	}
	if w.result.LaterBytes = files + aside; w.result.LaterBytes > 0 {
		w.result.LaterFrom = time.Unix(stamp, 0).Add(f.s.o.Home.Settings.Storage.DelayDelete).UTC()
	}
}

// end is called when the pack has given back this much by writing files again.
func (f *freeing) end(ctx context.Context, r *zodb.PackResult, gaveBack int64) {
	r.FreedBytes += max(0, gaveBack)
	if gaveBack > 0 && r.LaterFrom.IsZero() {
		gone, _, _ := f.weigh(ctx, 0)
		r.LaterBytes = min(r.LaterBytes, gone)
	}
}
