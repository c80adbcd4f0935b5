package txn

import (
	"context"
	"errors"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
)

// admit makes a transaction wait as it has to, and longer while more is unflushed than
// the settings allow, or than there is room for on the disk, or memory. If it cannot be flushed
// because the disk is full, waiting would be for ever.
func (m *Manager) admit(ctx context.Context, t *Txn) error {
	cost := m.costOf(t)
	a := state.Admission{Need: state.FootprintOf(cost), Work: cost.Work, HoldsLocks: t.held != nil}
	a.Memory = state.Memory(&t.meta, t.ops.n, t.recordsInMemory())
	again := m.o.State.Covers(&t.claim, a)
	lined := false
	defer func() {
		if lined {
			m.o.State.LeaveLine(&t.claim)
		}
	}()
	for {
		v, err := m.o.State.Admit(&t.claim, a, again)
		a.Paced, lined = a.Paced || v.Paced, lined || v.Lined
		if a.Looked = v.Look; v.Look {
			m.o.Space.Room()
			continue
		}
		if err != nil || v.Wait == 0 {
			return err
		}
		timer := time.NewTimer(v.Wait)
		select {
		case <-timer.C:
		case <-v.Changed:
		case <-ctx.Done():
			timer.Stop()
			if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
				return cause
			}
			return ctx.Err()
		}
		timer.Stop()
	}
}
