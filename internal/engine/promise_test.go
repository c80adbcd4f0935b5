//go:build linux

package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// promised is a storage with a transaction of which the promise of room is looked at, and the
// demand before it.
type promised struct {
	t     *testing.T
	s     *Storage
	txn   *txn.Txn
	first zodb.TID // of object 1, and no more the newest serial of it
	rest  state.Demand
}

// promisedMemory is the memory for unflushed transactions, with the default backlog: so little that
// each transaction is a large one, and as much as 75 objects take up.
const promisedMemory = 20_000

// objects returns so many changes of new objects.
func (p *promised) objects(n int) []change {
	list := make([]change, n)
	for i := range list {
		list[i] = change{oid: zodb.OID(100 + i), data: rec("x")}
	}
	return list
}

// promising opens one with so many bytes free on its disk.
func promising(t *testing.T, free uint64, retry time.Duration) *promised {
	t.Helper()
	home := newHome(t, CreateOptions{})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	disk := &changingDisk{FS: dir}
	disk.free.Store(free)
	p := &promised{t: t, s: open(t, home, Options{fs: disk, History: HistoryKept, RetryInterval: retry, LogMemory: promisedMemory / 4})}
	p.first = commit(t, p.s, change{oid: 1, data: rec("first")})
	commit(t, p.s, change{oid: 1, data: rec("second")})
	p.must(p.s.Flush(t.Context()))
	p.must(p.s.WaitNormal(t.Context()))
	p.rest = p.demand()
	p.begin()
	return p
}

func (p *promised) begin() {
	p.t.Helper()
	var err error
	p.txn, err = p.s.txns.Begin(p.t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	p.must(err)
}

func (p *promised) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *promised) demand() state.Demand { return p.s.state.Report(state.Footprint{}).Demand }

func (p *promised) store(list ...change) {
	p.t.Helper()
	p.must(fill(p.s, p.txn, list...))
}

func (p *promised) conflicts() {
	p.t.Helper()
	err := p.txn.Vote(p.t.Context())
	if _, ok := errors.AsType[*zodb.ConflictsError](err); !ok {
		p.t.Fatalf("no conflict: %v", err)
	}
}

func (p *promised) fails(want error) {
	p.t.Helper()
	if err := p.txn.Vote(p.t.Context()); !errors.Is(err, want) {
		p.t.Fatalf("%v, want %v", err, want)
	}
}

// interrupted votes, and interrupts that when it waits, as a step does that comes late.
func (p *promised) interrupted(waits func() bool) {
	p.t.Helper()
	late := errors.New("a step came late")
	ctx, interrupt := context.WithCancelCause(p.t.Context())
	done := make(chan error, 1)
	go func() { done <- p.txn.Vote(ctx) }()
	eventually(p.t, "the vote waits", waits)
	interrupt(late)
	if err := <-done; !errors.Is(err, late) {
		p.t.Fatalf("not interrupted: %v", err)
	}
	if n := p.demand().Waiting; n != 0 {
		p.t.Errorf("%d are in the line for room", n)
	}
}

// other returns another transaction of the storage that was voted for.
func (p *promised) other(list ...change) *txn.Txn {
	p.t.Helper()
	other, err := p.s.txns.Begin(p.t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	p.must(err)
	p.must(fill(p.s, other, list...))
	p.must(other.Vote(p.t.Context()))
	return other
}

// TestPromiseOfRoomIsMadeOnce: however often a transaction votes, it is promised the room and the
// memory of one that votes once with the same records. The promise is given back at its end, and the
// journal grows by the same.
func TestPromiseOfRoomIsMadeOnce(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	text := func(n int) []byte { return rec(strings.Repeat("x", n)) }
	for _, row := range []struct {
		name  string
		free  uint64 // bytes; 0: many
		retry time.Duration
		same  []change        // its content in the end; nil: its vote fails, and it is aborted
		bring func(*promised) // up to its last vote
	}{
		{name: "once", same: []change{{oid: 1, data: text(100)}}, bring: func(p *promised) {
			p.store(change{oid: 1, data: text(100)})
		}},
		{name: "resolved", same: []change{{oid: 1, data: text(100)}, {oid: 2, data: text(5)}}, bring: func(p *promised) {
			p.store(change{oid: 1, data: text(100), serial: p.first}, change{oid: 2, data: text(5)})
			p.conflicts()
			p.store(change{oid: 1, data: text(100)})
		}},
		{name: "resolved by a longer record", same: []change{{oid: 1, data: text(100_000)}}, bring: func(p *promised) {
			p.store(change{oid: 1, data: text(100), serial: p.first})
			p.conflicts()
			p.store(change{oid: 1, data: text(100_000)})
		}},
		{name: "resolved by a shorter record", same: []change{{oid: 1, data: text(100)}}, bring: func(p *promised) {
			p.store(change{oid: 1, data: text(100_000), serial: p.first})
			p.conflicts()
			p.store(change{oid: 1, data: text(100)})
		}},
		{name: "resolved twice", same: []change{{oid: 1, data: text(200)}}, bring: func(p *promised) {
			p.store(change{oid: 1, data: text(100), serial: p.first})
			p.conflicts()
			p.store(change{oid: 1, data: text(300), serial: p.first})
			p.conflicts()
			p.store(change{oid: 1, data: text(200)})
		}},
		{name: "resolved by a longer record where there is room for that alone", free: 10 << 20, same: []change{{oid: 1, data: text(4 << 20)}}, bring: func(p *promised) {
			p.store(change{oid: 1, data: text(3 << 20), serial: p.first})
			p.conflicts()
			p.store(change{oid: 1, data: text(4 << 20)})
		}},
		{name: "a late step while it waits for a lock", same: []change{{oid: 2, data: text(100)}, {oid: 3, data: text(7)}}, bring: func(p *promised) {
			other := p.other(change{oid: 2, data: text(10)})
			before := p.demand().Promised
			p.store(change{oid: 2, data: text(100)})
			p.interrupted(func() bool { return p.demand().Promised != before })
			p.store(change{oid: 3, data: text(7)})
			p.must(other.Abort())
		}},
		{name: "a late step while it waits for room", free: 10 << 20, retry: time.Hour, same: []change{{oid: 2, data: text(4 << 20)}, {oid: 3, data: text(7)}}, bring: func(p *promised) {
			other := p.other(change{oid: 5, data: text(4 << 20)})
			p.store(change{oid: 2, data: text(4 << 20)})
			p.interrupted(func() bool { return p.demand().Waiting == 1 })
			p.store(change{oid: 3, data: text(7)})
			p.must(other.Abort())
		}},
		{name: "resolved with more objects", same: append([]change{{oid: 1, data: text(100)}}, (*promised)(nil).objects(50)...), bring: func(p *promised) {
			p.store(append(p.objects(50), change{oid: 1, data: text(100), serial: p.first})...)
			p.conflicts()
			p.store(change{oid: 1, data: text(100)})
		}},
		{name: "a late step while it waits for memory", retry: time.Hour, same: []change{{oid: 2, data: text(100)}, {oid: 3, data: text(7)}}, bring: func(p *promised) {
			other := p.other(p.objects(75)...)
			p.store(change{oid: 2, data: text(100)})
			p.interrupted(func() bool { return p.demand().Waiting == 1 })
			p.store(change{oid: 3, data: text(7)})
			p.must(other.Abort())
		}},
		{name: "a conflict, and no memory then", retry: time.Millisecond, bring: func(p *promised) {
			p.store(change{oid: 1, data: text(100), serial: p.first})
			p.conflicts()
			other := p.other(p.objects(70)...)
			p.store(change{oid: 1, data: text(100)}, change{oid: 2, data: text(100)}, change{oid: 3, data: text(100)}, change{oid: 4, data: text(100)}, change{oid: 5, data: text(100)})
			p.fails(zodb.ErrScarce)
			p.must(other.Abort())
		}},
		{name: "a conflict", bring: func(p *promised) {
			p.store(change{oid: 1, data: text(100), serial: p.first})
			p.conflicts()
		}},
		{name: "a conflict, and no room then", free: 10 << 20, bring: func(p *promised) {
			p.store(change{oid: 1, data: text(100), serial: p.first})
			p.conflicts()
			p.store(change{oid: 1, data: text(6 << 20)})
			p.fails(zodb.ErrDiskFull)
		}},
		{name: "refused", bring: func(p *promised) {
			p.store(change{oid: 1, data: text(100)})
			p.must(p.txn.Delete(77, 0))
			p.fails(zodb.ErrNotFound)
		}},
		{name: "interrupted", bring: func(p *promised) {
			other := p.other(change{oid: 2, data: text(10)})
			before := p.demand().Promised
			p.store(change{oid: 2, data: text(100)})
			p.interrupted(func() bool { return p.demand().Promised != before })
			p.must(other.Abort())
		}},
	} {
		if row.free == 0 {
			row.free = 10 << 30
		}
		ends := []string{"abort", "close"}
		if row.same != nil {
			ends = append(ends, "commit")
		}
		for _, end := range ends {
			t.Run(row.name+"/"+end, func(t *testing.T) {
				t.Parallel()
				p := promising(t, row.free, row.retry)
				row.bring(p)
				var once *promised
				if row.same != nil {
					once = promising(t, row.free, 0)
					once.store(row.same...)
					once.must(once.txn.Vote(t.Context()))
					p.must(p.txn.Vote(t.Context()))
					got, want := p.demand(), once.demand()
					if got.Promised != want.Promised || got.PromisedMemory != want.PromisedMemory || got.PromisedMemory == 0 {
						t.Errorf("promised are %+v, want %+v", got, want)
					}
				}
				switch end {
				case "abort":
					p.must(p.txn.Abort())
				case "close":
					p.must(p.s.Close())
				case "commit":
					if got, want := p.commit(), once.commit(); got != want {
						t.Errorf("published: the demand is %+v, want %+v", got, want)
					}
					p.must(p.s.Flush(t.Context()))
				}
				if got := p.demand(); got != p.rest {
					t.Errorf("at rest the demand is %+v, before it was %+v", got, p.rest)
				}
			})
		}
	}
}

// commit finishes the transaction, and returns the demand when that is published and nothing is
// flushed.
func (p *promised) commit() (at state.Demand) {
	p.t.Helper()
	again := idle(p.t, p.s)
	defer again()
	_, err := p.txn.Finish(p.t.Context(), func(zodb.TID) { at = p.demand() })
	p.must(err)
	if at.Promised != (state.Footprint{}) || at.PromisedMemory != 0 || at.Unflushed == (state.Footprint{}) || at.Memory == 0 {
		p.t.Errorf("published: %+v", at)
	}
	return at
}
