package packing

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/oidset"
)

// guard stands between a pack and the transactions that go on meanwhile. Each
// transaction passes it at vote, when it holds its locks and before it looks whether the
// objects it refers to are there. There are three times:
//
//   - No pack runs. The guard notes the transaction, as always, until it ends: a pack
//     that begins waits for those that passed before.
//   - The pack marks. The objects that the transaction writes, and those it refers to,
//     are marked too.
//   - The pack has decided: everything unmarked is condemned. If the
//     transaction writes, relies on, or refers to a condemned object, that one is
//     spared, with all that can be reached from it, durably. If something of that
//     was removed already, the transaction is refused.
//
// So no finished transaction refers to an object that a pack removes.
type guard struct {
	mu     sync.Mutex
	passed map[Txn]struct{} // guarded by mu; voted, or about to
	plan   *plan            // guarded by mu; nil: no pack runs
}

// oidsetLimit is how many bytes a set of oids of a pack may take.
const oidsetLimit = 12 << 20

// pass is where each vote passes the guard.
func (g *guard) pass(ctx context.Context, t Txn) error {
	g.mu.Lock()
	if g.passed == nil {
		g.passed = make(map[Txn]struct{})
	}
	g.passed[t] = struct{}{}
	v := g.plan
	g.mu.Unlock()
	if v == nil {
		return nil
	}
	touched, unseen, err := t.Touched()
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch v = g.plan; {
	case v == nil:
		return nil // the next pack waits for this transaction
	case v.condemned == nil: // it has not made up its mind
		v.unseen = errors.Join(v.unseen, v.mark(touched))
		if v.gc {
			v.unseen = errors.Join(v.unseen, unseen)
		}
		return nil
	case unseen != nil && v.gc:
		return v.spareAll()
	}
	return v.spare(ctx, touched)
}

// mark notes the objects that a transaction touches before the pack has decided: first
// those it writes, which may not be there yet, and then those it refers to, because they
// may be the same. guard.mu must be held.
func (v *plan) mark(touched []Touch) error {
	for _, r := range touched {
		// Without gc everything is marked; a deleted object must not go if it comes back.
		if !v.gc || r.From == r.To {
			if ok, _ := v.spared.Add(r.To); !ok {
				return errTooManyOIDs
			}
		}
	}
	if !v.gc {
		return nil
	}
	for _, r := range touched {
		if err := v.marker.Add(r.To); err != nil {
			return err
		}
	}
	return nil
}

// ended forgets a transaction.
func (g *guard) ended(t Txn) {
	g.mu.Lock()
	delete(g.passed, t)
	g.mu.Unlock()
}

// begin starts to guard, and returns when every transaction that had passed
// before has ended.
func (g *guard) begin(ctx context.Context, v *plan) error {
	g.mu.Lock()
	g.plan = v
	waitFor := make([]Txn, 0, len(g.passed))
	for t := range g.passed {
		waitFor = append(waitFor, t)
	}
	g.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		g.mu.Lock()
		waitFor = slices.DeleteFunc(waitFor, func(t Txn) bool { _, still := g.passed[t]; return !still })
		g.mu.Unlock()
		if len(waitFor) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// condemn decides for the pack, if nothing came to be marked since the marker has run:
// the unreached candidates are condemned.
func (g *guard) condemn(v *plan, candidates *oidset.Set, skipBroken bool) (done bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !v.marker.Idle() {
		return false, nil
	}
	if v.unseen != nil && !skipBroken {
		return false, v.unseen
	}
	condemned := oidset.New(oidsetLimit)
	if !v.gc {
		candidates = v.marker.Deleted()
	}
	if v.unseen == nil && !v.marker.Blind() {
		for oid := range candidates.Each() {
			if v.gc && v.marker.Reached(oid) || v.spared.Has(oid) {
				continue
			}
			if ok, _ := condemned.Add(oid); !ok {
				return false, errTooManyOIDs
			}
		}
	}
	v.marker, v.condemned, v.state = nil, condemned, packDecided
	return true, nil
}
