package state

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// gate is a state with a clock, of which transactions ask to be let in.
type gate struct {
	*State
	t   *testing.T
	now time.Time
}

// newGate returns one with that much room; a zero limit is boundless.
func newGate(t *testing.T, free, limit Footprint) *gate {
	t.Helper()
	if limit == (Footprint{}) {
		free, limit = Boundless(), Boundless()
	}
	g := &gate{State: newState(nil), t: t, now: time.Unix(1e9, 0)}
	g.o.Clock = func() time.Time { return g.now }
	g.SetRoom(g.now, free, limit)
	return g
}

// asks lets a claim ask once.
func (g *gate) asks(c *Claim, a Admission) (in bool, err error) {
	g.t.Helper()
	a.Looked = true
	v, err := g.Admit(c, a, g.Covers(c, a))
	if err != nil {
		g.LeaveLine(c)
		return false, err
	}
	if v.Wait == 0 && v.Lined {
		g.t.Error("it is in the line, and was let in")
	}
	if v.Wait == 0 {
		g.LeaveLine(c)
	}
	return v.Wait == 0, nil
}

// want lets a claim ask once, and says whether it should be let in.
func (g *gate) want(what string, want bool, c *Claim, a Admission) {
	g.t.Helper()
	if in, err := g.asks(c, a); in != want || err != nil {
		g.t.Errorf("%s: let in: %t, want %t (err %v)", what, in, want, err)
	}
}

// publishLong publishes a transaction with so many bytes of metadata, and of files.
func (g *gate) publishLong(tid zodb.TID, meta int, bytes int64, claim *Claim) *Committed {
	c := &Committed{Committed: journal.Committed{TID: tid, Previous: tid - 1, Meta: zodb.TxnMeta{Description: make([]byte, meta)},
		Records: []journal.Entry{{OID: 1, Len: 3}}}}
	c.Measure(func(store.Outline) store.Cost { return store.Cost{Work: 3, Bytes: bytes, Inodes: 3} })
	g.Publish([]*Committed{c}, []*Claim{claim})
	return c
}

func (g *gate) flush(c ...*Committed) {
	g.BeginFlush(c)
	g.Flushed(c, zodb.Counts{}, time.Second)
}

// needs is an admission for so much memory.
func needs(memory int64) Admission {
	return Admission{Need: Footprint{Bytes: 100, Inodes: 3}, Work: 5, Memory: memory}
}

// files is an admission for so many bytes of files.
func files(bytes int64) Admission {
	return Admission{Need: Footprint{Bytes: bytes, Inodes: 3}, Work: 5, Memory: 400}
}

// TestLargeTransactionWaitsForMemory: it comes in when hardly anything is unflushed, however large
// it is, and no later one passes it for a moment.
func TestLargeTransactionWaitsForMemory(t *testing.T) {
	t.Parallel()
	g := newGate(t, Footprint{}, Footprint{})
	limit := g.memoryLimit()
	var alone, large, small Claim
	g.want("alone", true, &alone, needs(3*limit))
	g.Release(&alone)
	c := g.publishLong(2, int(limit/4), 100, &Claim{})
	g.want("half of it beside a quarter that is unflushed", true, &small, needs(limit/2))
	g.Release(&small)
	g.want("a large one beside a quarter that is unflushed", false, &large, needs(3*limit))
	if d := g.Decide(true, false); d.Job != JobFlush {
		t.Errorf("the job is %d: what it waits for is not flushed", d.Job)
	}
	g.want("a small one passes it", false, &small, needs(limit/2))
	g.flush(c)
	g.want("after the flush", true, &large, needs(3*limit))
	g.Release(&large)
	g.want("when it has come in", true, &small, needs(limit/2))
}

// TestLargeTransactionsSideBySideHaveTheMemoryOnce: promises to others count, the next
// one comes in when it is given back, the order is kept, and small ones pass.
func TestLargeTransactionsSideBySideHaveTheMemoryOnce(t *testing.T) {
	t.Parallel()
	g := newGate(t, Footprint{}, Footprint{})
	limit := g.memoryLimit()
	third := needs(limit / 3)
	claims := make([]Claim, 20)
	for i := range claims {
		g.want("at first", i < 3, &claims[i], third)
	}
	var small, larger Claim
	g.want("a small one", true, &small, needs(limit/smallMemory-1))
	if d := g.Report(Footprint{}).Demand; d.PromisedMemory != limit/3*3 || d.Waiting != len(claims)-3 {
		t.Errorf("%+v", d)
	}
	g.want("one that fits beside them, behind those that do not", false, &larger, needs(limit/smallMemory))
	committed := g.publishLong(2, int(limit/3), 100, &claims[0])
	g.want("the first one is published and not flushed", false, &claims[3], third)
	g.flush(committed)
	for i := 3; i < len(claims); i++ {
		if i < len(claims)-1 {
			g.want("another one, out of turn", false, &claims[len(claims)-1], third)
		}
		g.want("the next one, of its turn", true, &claims[i], third)
		g.Release(&claims[i-2])
	}
	g.want("the last one", true, &larger, needs(limit/smallMemory))
	for _, c := range []*Claim{&claims[18], &claims[19], &larger, &small} {
		g.Release(c)
	}
	if d := g.Report(Footprint{}).Demand; d != (Demand{}) {
		t.Errorf("at rest: %+v", d)
	}
}

// TestMemoryOfWhoDoesNotFinish: a large transaction that waits for one without an end is told so
// after a moment, and small ones do not wait for it at all.
func TestMemoryOfWhoDoesNotFinish(t *testing.T) {
	t.Parallel()
	g := newGate(t, Footprint{}, Footprint{})
	limit := g.memoryLimit()
	var stalled, first, waits, again Claim
	g.want("alone", true, &stalled, needs(2*limit))
	g.want("beside it", false, &first, needs(limit/2))
	g.now = g.now.Add(patience * g.o.RetryInterval)
	g.want("not longer than a moment", false, &first, needs(limit/2))
	g.now = g.now.Add(1)
	if _, err := g.asks(&first, needs(limit/2)); !errors.Is(err, zodb.ErrScarce) {
		t.Errorf("refused with %v", err)
	}
	for range 100 {
		g.want("beside it", false, &waits, needs(limit/2))
		var small Claim
		g.want("a small one", true, &small, needs(400))
		g.flush(g.publishLong(g.last+1, 100, 100, &small))
		g.now = g.now.Add(g.o.RetryInterval / 100)
	}
	var err error
	for range longestWait * 100 { // others come and go
		if _, err = g.asks(&waits, needs(limit/2)); err != nil {
			break
		}
		var small Claim
		g.want("a small one", true, &small, needs(400))
		g.flush(g.publishLong(g.last+1, 100, 100, &small))
		g.now = g.now.Add(g.o.RetryInterval / 10)
	}
	if !errors.Is(err, zodb.ErrScarce) || errors.Is(err, zodb.ErrDiskFull) || !strings.Contains(err.Error(), "try it again later") {
		t.Errorf("refused with %v", err)
	}
	g.Release(&stalled)
	g.want("when that has ended", true, &again, needs(limit/2))
}

// TestMemoryIsKeptForASecondVote: a holder of locks does not wait for memory that it had.
func TestMemoryIsKeptForASecondVote(t *testing.T) {
	t.Parallel()
	g := newGate(t, Footprint{Bytes: 10_000, Inodes: 1000}, Footprint{Bytes: 10_000, Inodes: 1000})
	limit := g.memoryLimit()
	var voter, other, waits Claim
	a := needs(limit / 2)
	g.want("at first", true, &voter, a)
	g.want("another", true, &other, a)
	g.want("one more", false, &waits, a)
	a.HoldsLocks = true
	a.Need.Bytes = 9_500 // it has to ask for room again
	g.want("with more data than there is room for", false, &voter, a)
	g.want("one more, while that waits for room", false, &waits, needs(limit/2))
	g.publishLong(2, int(limit/16), 100, &Claim{})
	a.Need.Bytes = 200
	g.want("with more data, beside what others have published", true, &voter, a)
	a.Memory--
	g.want("with fewer objects", true, &voter, a)
	if d := g.Report(Footprint{}).Demand; d.PromisedMemory != limit-1 || d.Promised.Bytes != 300 {
		t.Errorf("%+v", d)
	}
	a.Memory += 2
	g.want("with more objects", false, &voter, a)
	if d := g.Report(Footprint{}).Demand; d.PromisedMemory != limit/2 || d.Promised.Bytes != 100 {
		t.Errorf("%+v", d)
	}
}

// TestPromisesLeaveRoomForSmallTransactions: however much of a disk that is nearly full was
// promised to transactions that do not come to their end, small ones come in; and never more is promised
// than there is.
func TestPromisesLeaveRoomForSmallTransactions(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, row := range []struct{ free, limit int64 }{{1500 * mib, 488 * mib}, {600 * mib, 12 * mib}, {50 << 30, 49 << 30}} {
		g := newGate(t, Footprint{row.free, 1 << 30}, Footprint{row.limit, 1 << 30})
		stalled := make([]Claim, 64)
		// Each takes as much as it can get.
		for i := range stalled {
			for size := row.free; size > 0; size = size * 63 / 64 {
				var probe Claim
				in, err := g.asks(&probe, files(size))
				if err != nil || !in {
					g.LeaveLine(&probe)
					g.now = g.now.Add(g.o.RetryInterval)
					continue
				}
				g.Release(&probe)
				g.want("the same again", true, &stalled[i], files(size))
				break
			}
			if i == 15 {
				var small Claim
				g.want("a small one beside sixteen", true, &small, files(27<<10))
				g.Release(&small)
			}
		}
		if got := g.room.promised.Bytes; got > max(row.limit, row.free/2+row.limit/keepPart) {
			t.Errorf("of %d, a limit of %d: %d are promised", row.free, row.limit, got)
		}
	}
}

// TestWhoWaitsInVainHoldsUpNobody: a crowd that waits for room that was promised to somebody who does not
// come to an end holds up a small transaction for a moment now and then, not for a moment each.
func TestWhoWaitsInVainHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	g := newGate(t, Footprint{1500 * mib, 1 << 30}, Footprint{488 * mib, 1 << 30})
	var stalled Claim
	g.want("alone", true, &stalled, files(400*mib))
	crowd := make([]Claim, 40)
	var longest, all time.Duration
	commits := 0
	var innocent Claim
	asked := g.now
	for end := g.now.Add(2 * time.Minute); g.now.Before(end); {
		for i := range crowd {
			if in, err := g.asks(&crowd[i], files(300*mib)); in || err != nil && !errors.Is(err, zodb.ErrDiskFull) {
				t.Fatalf("let in: %t, %v", in, err)
			}
		}
		in, err := g.asks(&innocent, files(27<<10))
		if err != nil {
			t.Fatal(err)
		}
		g.now = g.now.Add(50 * time.Millisecond)
		if in {
			longest, all = max(longest, g.now.Sub(asked)), all+g.now.Sub(asked)
			commits++
			g.Release(&innocent)
			asked = g.now
		}
	}
	t.Logf("%d commits, the longest waited %v", commits, longest)
	if longest > g.o.RetryInterval+100*time.Millisecond || all/time.Duration(max(1, commits)) > 100*time.Millisecond {
		t.Errorf("%d commits waited %v, the longest %v", commits, all, longest)
	}
}
