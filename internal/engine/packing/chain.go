package packing

import (
	"context"
	"errors"
	"io/fs"
	"iter"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// chainStep is how many transactions one step looks at, and maxRun how many are
// removed at most before the chain is linked past them.
const (
	chainStep = 500
	maxRun    = 1000
)

// chainSweep removes transactions of which nothing is left. Those that stay are
// linked past them first, durably.
type chainSweep struct {
	*sweep
	kept zodb.TID   // the last one that stays
	lost bool       // its file cannot be read, so nothing can be linked from it, and names of files lead past it
	next zodb.TID   // to be looked at
	run  []zodb.TID // between them: these go
	end  bool       // there are no older ones
	seen int64      // of those before before

	links []store.Link // of this step
	gone  []zodb.TID   // removed by this step

	named map[zodb.TID]bool // by transactions that cannot be read, or cannot name their predecessor
}

func (w *sweep) transactions(ctx context.Context) error {
	if w.h.Oldest == 0 {
		return nil
	}
	w.p.phase("removing transactions", 0)
	t, err := w.s.direct.Transaction(w.h.Oldest)
	if err != nil {
		return err
	}
	c := &chainSweep{sweep: w, kept: w.h.Oldest, next: before(t), named: make(map[zodb.TID]bool)}
	if err := w.s.o.State.RunTask(ctx, c.step); err != nil {
		return err
	}
	if !w.resumed && c.seen >= w.early {
		return nil
	}
	// A crash, in this pack or an earlier one, may have come after the links and before the
	// removal: then nothing leads to them any more.
	return w.unlinkedTransactions(ctx, c.named)
}

// step looks at some transactions, and removes those that go.
func (c *chainSweep) step() (done bool, err error) {
	c.links, c.gone = c.links[:0], c.gone[:0]
	for n := 0; n < chainStep && len(c.gone) < stepFiles && !c.end; n++ {
		if err := c.look(); err != nil {
			return false, err
		}
	}
	if err := c.s.o.Store.Relink(c.links); err != nil {
		return false, err
	}
	return c.end, c.remove(c.gone)
}

// look decides about one transaction.
func (c *chainSweep) look() error {
	if c.next == 0 {
		c.ends()
		return nil
	}
	t, err := c.s.direct.Transaction(c.next)
	if errors.Is(err, zodb.ErrNotFound) {
		c.ends()
		return nil
	}
	if c.next < c.before {
		c.seen++
	}
	if err != nil && c.s.direct.IsDamage(context.Background(), err) {
		return c.keepDamaged(err)
	}
	if err != nil {
		return err
	}
	if t.Previous >= t.TID { // no checksum covers it
		c.named[t.TID] = true
		return c.keepDamaged(&zodb.CorruptError{Path: c.s.o.Store.Place(layout.Transaction(t.TID)), TID: t.TID,
			Reason: "history does not go backwards: the transaction before it is " + t.Previous.String()})
	}
	c.p.done.Add(1)
	stays, err := c.stays(t)
	if err != nil {
		return err
	}
	c.next = t.Previous
	if c.lost { // which names it, and may be read again one day
		c.named[t.TID], stays = true, true
	}
	if !stays {
		if c.run = append(c.run, t.TID); len(c.run) == maxRun && c.next != 0 {
			c.pass(c.next)
		}
		return nil
	}
	if len(c.run) > 0 {
		c.pass(t.TID)
	}
	c.kept, c.lost = t.TID, false
	return nil
}

// ends takes note that there is nothing older. So the last that stays goes on naming a
// removed one.
func (c *chainSweep) ends() {
	c.end = true
	c.gone = append(c.gone, c.run...)
}

// keepDamaged leaves a transaction that cannot be read, or names a wrong predecessor, as it is,
// and its predecessor too: if the disk or the owner of the file is the reason, it leads on to
// that one again later.
func (c *chainSweep) keepDamaged(cause error) error {
	c.s.o.Log.Error("damage: a pack leaves a transaction as it is", "tid", c.next, "err", cause)
	older, err := c.s.direct.BeforeDamaged(c.next)
	if err != nil {
		return err
	}
	if len(c.run) > 0 {
		c.pass(c.next)
	}
	c.kept, c.lost, c.next = c.next, true, older
	return nil
}

// pass notes that the run goes, and that the chain goes on with previous.
func (c *chainSweep) pass(previous zodb.TID) {
	c.links = append(c.links, store.Link{TID: c.kept, Previous: previous})
	c.gone = append(c.gone, c.run...)
	c.run = c.run[:0]
}

// stays reports whether a transaction stays that is older than the pack time.
func (w *sweep) stays(t *record.Transaction) (bool, error) {
	if w.h.Undoable {
		return false, nil
	}
	if len(t.OIDs) == 0 && string(t.Description) == histfile.BeginsAnew {
		return true, nil // without it, the earlier part would be history that clients can name
	}
	return w.s.hasRevisions(t)
}

// hasRevisions reports whether any revision that a transaction wrote is left in A.
func (s *Packer) hasRevisions(t *record.Transaction) (bool, error) {
	for _, oid := range t.OIDs {
		_, err := s.o.Store.Stat(layout.Revision(oid, t.TID))
		if !errors.Is(err, fs.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

// remove removes transactions, those of the chain the newest first: see [Packer.olderThan].
func (w *sweep) remove(tids []zodb.TID) error {
	if len(tids) == 0 {
		return nil
	}
	n, err := w.s.o.Store.Remove(w.stamp(), store.Removal{Transactions: tids})
	if err != nil {
		return err
	}
	return w.removed(state.CountsOf(n))
}

// unlinkedTransactions removes the transactions that do not stay, whether something leads to them
// or not. Those in named stay.
func (w *sweep) unlinkedTransactions(ctx context.Context, named map[zodb.TID]bool) error {
	var werr error
	next, stop := iter.Pull(func(yield func(zodb.TID) bool) {
		for n, err := range w.s.o.Store.Names(context.Background(), layout.KindTransaction) {
			if err != nil {
				werr = err
				return
			}
			if n.TID < w.h.Oldest && !yield(n.TID) {
				return
			}
		}
	})
	defer stop()
	err := w.s.o.State.RunTask(ctx, func() (bool, error) {
		var tids []zodb.TID
		for range chainStep {
			tid, ok := next()
			if !ok {
				return true, w.remove(tids)
			}
			t, err := w.s.direct.Transaction(tid)
			if errors.Is(err, zodb.ErrNotFound) || err != nil && w.s.direct.IsDamage(ctx, err) {
				continue
			}
			if err != nil {
				return false, err
			}
			stays, err := w.stays(t)
			if err != nil {
				return false, err
			}
			if !stays && !named[tid] {
				tids = append(tids, tid)
			}
		}
		return false, w.remove(tids)
	})
	return errors.Join(err, werr)
}
