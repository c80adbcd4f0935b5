package packing

import (
	"context"
	"sync"

	"github.com/dirstorage/dirstorage/internal/refindex"
	"github.com/dirstorage/dirstorage/zodb"
)

// indexMemory is the memory that a pack spends on sorting references, in bytes.
const indexMemory = 16 << 20

// refIndex is the index of references that a pack writes beside its work. It
// never stops the pack: when it fails, that is logged, and no new index is written.
// Without begin its methods do nothing. They may be called concurrently, and while the
// guard of the pack is held: so nobody waits until their lines are in the log.
type refIndex struct {
	s  *Packer
	mu sync.RWMutex
	w  *refindex.Writer // nil: none is written; guarded by mu
}

func (x *refIndex) begin() {
	w, err := refindex.New(x.s.o.Home.FS, "misc", x.s.o.State.LastTID(), indexMemory)
	if err != nil {
		x.failed(err)
		return
	}
	x.mu.Lock()
	x.w = w
	x.mu.Unlock()
}

// add adds a reference. It never returns an error.
func (x *refIndex) add(from, to zodb.OID) error {
	x.mu.RLock()
	var err error
	if x.w != nil {
		err = x.w.Add(from, to)
	}
	x.mu.RUnlock()
	if err != nil {
		x.failed(err)
	}
	return nil
}

func (x *refIndex) skip(damaged bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.w != nil {
		x.w.Skip(damaged)
	}
}

// abort ends it without a result.
func (x *refIndex) abort() {
	x.mu.Lock()
	w := x.w
	x.w = nil
	x.mu.Unlock()
	if w == nil {
		return
	}
	if err := w.Abort(); err != nil {
		go x.s.o.Log.Warn("remove the leftovers of an index of references", "err", err)
	}
}

func (x *refIndex) failed(err error) {
	go x.s.o.Log.Warn("the index of references is not written", "err", err)
	x.abort()
}

// finish puts it in the place of the one before.
func (x *refIndex) finish(ctx context.Context) {
	x.mu.Lock()
	w := x.w
	x.w = nil
	x.mu.Unlock()
	if w == nil {
		return
	}
	stats, err := w.Finish(ctx, x.s.o.Home.Sync())
	if err != nil {
		x.failed(err)
		return
	}
	x.s.o.Log.Info("index of references written", "references", stats.References)
}
