package read

import (
	"context"
	"errors"
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// untilClosed ends a sequence with ErrClosed if the storage was closed before it or meanwhile: files
// that are gone, or indexes that were given back, would pass for objects that there are none of.
func untilClosed[V any](ctx context.Context, r *Reader, list iter.Seq2[V, error]) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		var none V
		if r.closed() {
			yield(none, zodb.ErrClosed)
			return
		}
		for v, err := range list {
			if err != nil && ctx.Err() == nil && r.closed() {
				yield(none, zodb.ErrClosed)
				return
			}
			if !yield(v, err) {
				return
			}
		}
		if r.closed() {
			yield(none, zodb.ErrClosed)
		}
	}
}

// closed reports whether the storage was closed.
func (r *Reader) closed() bool { return errors.Is(r.o.State.Writable(), zodb.ErrClosed) }
