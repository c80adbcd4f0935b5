package txn

import (
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// costOf estimates the cost of flushing a transaction before its vote, without its blobs.
func (m *Manager) costOf(t *Txn) store.Cost {
	return m.o.Store.Cost(state.Outline(&t.meta, t.ops.n, func(yield func(size int64, first, blob bool)) {
		for op := range t.ops.all() {
			yield(int64(op.data.length), op.serial == 0, false)
		}
	}))
}

// SmallTransaction is the footprint of a transaction of one small object.
func (m *Manager) SmallTransaction() state.Footprint {
	return state.FootprintOf(m.o.Store.Cost(state.Outline(&zodb.TxnMeta{}, 1, func(yield func(size int64, first, blob bool)) { yield(0, true, false) })))
}
