package flush

import (
	"context"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/store"
)

// reclaim is a request for the space that packs have freed inside files.
type reclaim struct {
	least float64 // of a file is to be gone
	err   error
	ended chan struct{}
}

// end tells the caller of Reclaim. The receiver may be nil.
func (r *reclaim) end(err error) {
	if r == nil {
		return
	}
	select {
	case <-r.ended: // because of an earlier one
	default:
		r.err = err
		close(r.ended)
	}
}

// Reclaimed is the space that a storage has given back by writing files again.
type Reclaimed struct {
	Files int64 // that were written again
	Bytes int64 // that the file system has more
}

// reclaimed is the sum of all since the open. It may be read by anybody.
type reclaimed struct{ files, bytes atomic.Int64 }

// add notes the work of a chore that was asked for, or not; merges of others do not count.
func (r *reclaimed) add(n store.Tended, asked bool) {
	if n.Rewritten > 0 || asked {
		r.files.Add(int64(n.Rewritten))
		r.bytes.Add(n.GaveBack)
	}
}

// Reclaimed returns how much was given back since the open. It may be called concurrently.
func (w *Worker) Reclaimed() Reclaimed {
	return Reclaimed{w.gave.files.Load(), w.gave.bytes.Load()}
}

// asked returns the request that is to be seen to, if there is one and A is free for it.
func (w *Worker) asked(side store.Side) *reclaim {
	r := w.request.Load()
	if r == nil || side != store.A {
		return nil
	}
	select {
	case <-r.ended:
		return nil
	default:
		return r
	}
}

// isForNobody reports whether the chore under way was asked for by a caller of Reclaim who has left.
func (t *tending) isForNobody(w *Worker) bool {
	return t.of != nil && w.request.Load() != t.of
}

// Reclaim has the store give back the space that packs have freed inside files of which a part of at
// least that share, 0..1, is gone for good. It returns when that is done, or when some file lacks
// room. It is called by one goroutine at a time, and waits for the end of a snapshot. When ctx ends,
// the file that is being written is given up. If the storage becomes read-only or is closed, the error is
// that of its writers.
func (w *Worker) Reclaim(ctx context.Context, least float64) error {
	r := &reclaim{least: max(least, 1e-9), ended: make(chan struct{})}
	w.request.Store(r)
	defer func() { w.request.Store(nil); w.o.State.Wake() }()
	w.o.State.Wake()
	select {
	case <-r.ended:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.ended: // the storage is closed, or became read-only
		return w.o.State.Writable()
	}
}

// ReclaimIfShort is Reclaim where space is short, and does nothing elsewhere. It returns how many
// bytes the file system got meanwhile.
func (w *Worker) ReclaimIfShort(ctx context.Context) (bytes int64, err error) {
	if !w.o.Space.Short() {
		return 0, nil
	}
	before := w.Reclaimed().Bytes
	err = w.Reclaim(ctx, leastShort)
	return w.Reclaimed().Bytes - before, err
}
