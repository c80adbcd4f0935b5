package engine

import (
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// costOf is what the flush of a transaction will take that is about to be voted for, as far as
// that is known before: without its blobs.
func (s *Storage) costOf(t *Txn) store.Cost {
	return s.store.Cost(state.Outline(&t.meta, t.ops.n, func(yield func(size int64, first, blob bool)) {
		for op := range t.ops.all() {
			yield(int64(op.data.length), op.serial == 0, false)
		}
	}))
}

// smallTransaction is what a transaction of one small object takes up.
func (s *Storage) smallTransaction() state.Footprint {
	return state.FootprintOf(s.store.Cost(state.Outline(&zodb.TxnMeta{}, 1, func(yield func(size int64, first, blob bool)) { yield(0, true, false) })))
}
