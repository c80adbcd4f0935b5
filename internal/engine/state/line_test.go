package state

import (
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestHolderOfLocksWaitsForPromisesForAMoment: those to whom room or memory was promised may wait
// for its locks, and then neither would go on. Promises to others meanwhile are not a reason to
// wait longer.
func TestHolderOfLocksWaitsForPromisesForAMoment(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name          string
		first, second Admission
		want          error
	}{
		{"memory", needs(1 << 19), needs(1<<19 + 1), zodb.ErrScarce},
		{"room", files(400_000), files(550_000), zodb.ErrDiskFull},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, Footprint{1_300_000, 1 << 20}, Footprint{1_200_000, 1 << 20})
			g.o.LogMemory = 1 << 20 / int64(g.o.Journal.Backlog+1)
			var holder, waitsForItsLocks Claim
			g.want("its first vote", true, &holder, row.first)
			g.want("one that waits for its locks", true, &waitsForItsLocks, row.first)
			row.second.HoldsLocks = true
			begun := g.now
			var err error
			for g.now.Sub(begun) < time.Hour {
				var in bool
				if in, err = g.asks(&holder, row.second); in {
					t.Fatal("let in")
				}
				if err != nil {
					break
				}
				var small Claim
				if in, err := g.asks(&small, files(300)); in && err == nil {
					g.flush(g.publishLong(g.last+1, 100, 300, &small))
				}
				g.LeaveLine(&small)
				g.now = g.now.Add(g.o.RetryInterval / 20)
			}
			if waited := g.now.Sub(begun); !errors.Is(err, row.want) || waited > g.o.RetryInterval+g.o.RetryInterval/10 {
				t.Errorf("after %v: %v", waited, err)
			}
			g.Release(&holder)
			g.Release(&waitsForItsLocks)
			if d := g.Report(Footprint{}).Demand; d != (Demand{}) {
				t.Errorf("at rest: %+v", d)
			}
		})
	}
}

// TestWaitForAFlushIsNoWaitForOthers: a transaction that has waited for a slow flush, and then
// finds that another one was let in, waits for that.
func TestWaitForAFlushIsNoWaitForOthers(t *testing.T) {
	t.Parallel()
	g := newGate(t, Footprint{}, Footprint{})
	limit := g.memoryLimit()
	c := g.publishLong(2, int(limit*3/4), 100, &Claim{})
	var waits, other Claim
	g.want("beside what is unflushed", false, &waits, needs(limit/2))
	g.now = g.now.Add(2 * longestWait * g.o.RetryInterval)
	g.want("while the flush is slow", false, &waits, needs(limit/2))
	g.flush(c)
	g.now = g.now.Add(2 * g.o.RetryInterval) // the line is open again
	g.want("another one, when it has ended", true, &other, needs(limit*3/4))
	g.want("beside that", false, &waits, needs(limit/2))
	g.now = g.now.Add(patience * g.o.RetryInterval)
	g.want("a while later", false, &waits, needs(limit/2))
	g.Release(&other)
	g.want("when that has ended", true, &waits, needs(limit/2))
}
