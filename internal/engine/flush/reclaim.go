package flush

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/store"
)

// reclaim is a request for the space that packs have freed inside files.
type reclaim struct {
	least float64 // of a file is to be gone
	gave  int64   // bytes, so far
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

// add notes the bytes that were given back. The receiver may be nil.
func (r *reclaim) add(n store.Tended) {
	if r != nil {
		r.gave += n.GaveBack
	}
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

// Reclaim has the store give back the space that packs have freed inside files of which a part of at
// least that share, 0..1, is gone for good, and returns how many bytes the file system got. It returns
// when that is done, or when some file lacks room. It is called by one goroutine at a time, and waits for
// the end of a snapshot.
func (w *Worker) Reclaim(ctx context.Context, least float64) (bytes int64, err error) {
	r := &reclaim{least: max(least, 1e-9), ended: make(chan struct{})}
	w.request.Store(r)
	defer w.request.Store(nil)
	w.o.State.Wake()
	select {
	case <-r.ended:
		return r.gave, r.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// ReclaimIfShort is Reclaim where space is short, and does nothing elsewhere.
func (w *Worker) ReclaimIfShort(ctx context.Context) (bytes int64, err error) {
	if !w.o.Space.Short() {
		return 0, nil
	}
	return w.Reclaim(ctx, leastShort)
}
