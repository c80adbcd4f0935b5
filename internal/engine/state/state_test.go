package state

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// toldCache calls a function with all that a cache is told.
type toldCache func(newest map[zodb.OID]*record.Object, generation uint64)

func (f toldCache) Replace(newest map[zodb.OID]*record.Object, generation uint64) {
	f(newest, generation)
}

func newState(cache toldCache) *State {
	if cache == nil {
		cache = func(map[zodb.OID]*record.Object, uint64) {}
	}
	return New(Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Clock: func() time.Time { return time.Unix(1e9, 0) }, Home: "/home",
		Cache: cache, RecordMemory: 1 << 20, LogMemory: 1 << 20, RetryInterval: time.Second, SnapshotLimit: time.Hour, HasReserve: true,
		Journal: settings.Journal{FlushInterval: time.Minute, FlushFileThreshold: 100, FlushTransactionThreshold: 10, Backlog: 1}})
}

// publish makes a transaction of one small record visible.
func publish(s *State, tid zodb.TID, oid zodb.OID, previous zodb.TID) *Committed {
	c := &Committed{At: s.o.Clock(), Committed: journal.Committed{TID: tid, Previous: tid - 1, Records: []journal.Entry{{OID: oid, Previous: previous, Len: 3}}},
		Objects: []*record.Object{{OID: oid, Serial: tid, Data: []byte("abc")}}}
	c.Measure(func(o store.Outline) store.Cost { return store.Cost{Work: 3 + 2*o.Records, Bytes: 4096, Inodes: 2} })
	s.Publish([]*Committed{c}, []*Claim{{}})
	return c
}

// TestCacheLearnsBeforeTheIndexForgets: at every moment of a flush the newest revision is in
// the index or in the cache, and a revision looked up before it cannot get into the cache after
// it.
func TestCacheLearnsBeforeTheIndexForgets(t *testing.T) {
	t.Parallel()
	var s *State
	told := 0
	s = newState(func(newest map[zodb.OID]*record.Object, generation uint64) {
		told++
		if len(newest) != 1 || newest[1] == nil || newest[1].Serial != 3 {
			t.Errorf("the cache is told %v", newest)
		}
		r, ok, before := s.CurrentAndGeneration(1) // mu is free
		if !ok || r.TID != 3 || before >= generation {
			t.Errorf("the index has %v, %v of generation %d, while the cache is told of %d", r.TID, ok, before, generation)
		}
	})
	first, second := publish(s, 2, 1, 0), publish(s, 3, 1, 2)
	version := s.Version()
	if r, ok := s.Revision(1, 2); !ok || r.Object == nil {
		t.Errorf("the older revision: %+v, %v", r, ok)
	}
	if r, end, _, ok := s.RevisionBefore(1, 3); !ok || r.TID != 2 || end != 3 {
		t.Errorf("before the newest: %v, %v, replaced by %v", r.TID, ok, end)
	}
	if _, end, previous, ok := s.RevisionBefore(1, 2); ok || end != 2 || previous != 0 {
		t.Errorf("before the oldest: %v, replaced by %v, after %v", ok, end, previous)
	}
	batch := s.NextBatch(zodb.MaxTID)
	if len(batch) != 2 || batch[0] != first || batch[1] != second {
		t.Fatalf("a batch of %d", len(batch))
	}
	if side := s.BeginFlush(batch); side != store.A {
		t.Errorf("it goes to %s", side)
	}
	counts, _ := s.FlushedCounts()
	AddBatch(&counts, batch, true)
	all := s.Counts()
	s.Flushed(batch, counts, time.Second)
	if _, ok := s.Current(1); ok || told != 1 || s.Version() == version || s.FlushedTID() != 3 || s.LastTID() != 3 {
		t.Errorf("after the flush: in the index %v, the cache was told %d times, flushed %v", ok, told, s.FlushedTID())
	}
	if got := s.Counts(); got != all {
		t.Errorf("the flush changes the counts from %+v to %+v", all, got)
	}
	if d := s.Report(Footprint{}).Demand; d != (Demand{}) {
		t.Errorf("with nothing unflushed %+v is in use", d)
	}
}

func TestOnlyTheFirstFailureIsKept(t *testing.T) {
	t.Parallel()
	s := newState(nil)
	q := NewEntry("x", time.Unix(1, 0))
	if err := s.Ask(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	first := errors.New("first")
	if err := s.Fail(first); !errors.Is(err, first) || !errors.Is(err, zodb.ErrReadOnly) {
		t.Error(err)
	}
	if err := s.Fail(errors.New("second")); !errors.Is(err, first) {
		t.Error(err)
	}
	select {
	case <-q.Done():
		if !errors.Is(q.Err(), first) {
			t.Error(q.Err())
		}
	default:
		t.Error("the snapshot that is asked for is not refused")
	}
	if _, err := s.Tail(); !errors.Is(err, first) {
		t.Error(err)
	}
	if d := s.Decide(true, true); d.Job != JobStop {
		t.Errorf("job %d", d.Job)
	}
}

// TestEntryThatHasBegunIsNotWithdrawn: from BeginEntry on only the worker ends it, even if
// the storage fails or closes.
func TestEntryThatHasBegunIsNotWithdrawn(t *testing.T) {
	t.Parallel()
	s := newState(nil)
	q := NewEntry("x", time.Unix(1, 0))
	if err := s.Ask(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	batch := []*Committed{publish(s, 2, 1, 0)} // after it
	s.BeginFlush(batch)
	s.Flushed(batch, zodb.Counts{}, 0)
	if upTo, ok := s.BeginEntry(q); !ok || upTo != 2 {
		t.Errorf("A ends with %v, %v", upTo, ok)
	}
	if s.Withdraw(q) {
		t.Error("it was withdrawn")
	}
	if side := s.BeginFlush(nil); side != store.B {
		t.Errorf("flushes go to %s", side)
	}
	_ = s.Fail(errors.New("of a test"))
	select {
	case <-q.Done():
		t.Error("it was ended while the worker is at it")
	default:
	}
	s.NotEntered(q)
	if side := s.BeginFlush(nil); side != store.A || s.Decide(true, false).Entry != nil {
		t.Errorf("flushes go to %s after all", side)
	}
}

// TestEntryWaitsForWhatItIsToHold: a snapshot is not entered while something is unflushed
// that was published before it was asked for.
func TestEntryWaitsForWhatItIsToHold(t *testing.T) {
	t.Parallel()
	s := newState(nil)
	c := publish(s, 2, 1, 0)
	q := NewEntry("x", time.Unix(1, 0))
	if err := s.Ask(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.BeginEntry(q); ok {
		t.Error("it has begun")
	}
	if d := s.Decide(true, true); d.Job != JobFlush || d.UpTo != 2 {
		t.Errorf("job %d up to %v", d.Job, d.UpTo)
	}
	s.Flushed([]*Committed{c}, zodb.Counts{}, 0)
	if d := s.Decide(true, true); d.Job != JobEnter || d.Entry != q {
		t.Errorf("job %d", d.Job)
	}
	if !s.Withdraw(q) || s.Withdraw(q) {
		t.Error("it is withdrawn once")
	}
}

func TestTaskEndsOnce(t *testing.T) {
	t.Parallel()
	s := newState(nil)
	task, err := s.beginTask(func() (bool, error) { return false, nil })
	if err != nil {
		t.Fatal(err)
	}
	if s.BeginStep() != task {
		t.Fatal("not this task")
	}
	s.cancelTask(task)
	select {
	case <-task.Done():
		t.Fatal("it ended during a step")
	default:
	}
	s.EndStep(task, false, nil)
	<-task.Done()
	if !errors.Is(task.Err(), ErrStopped) || s.BeginStep() != nil {
		t.Error(task.Err())
	}
	s.EndTask() // there is none
	second, err := s.beginTask(func() (bool, error) { return false, nil })
	if err != nil {
		t.Fatal(err)
	}
	s.cancelTask(second)
	<-second.Done()
	if _, first := s.Close(); !first {
		t.Error("it was closed before")
	}
	if _, err := s.beginTask(nil); !errors.Is(err, zodb.ErrClosed) {
		t.Error(err)
	}
}

// TestRoomIsPromisedOnce: a transaction that votes again, or is published, leaves no promise
// without an owner.
func TestRoomIsPromisedOnce(t *testing.T) {
	t.Parallel()
	s := newState(nil)
	var c Claim
	a := Admission{Need: Footprint{Bytes: 100, Inodes: 3}, Work: 5}
	if v, err := s.Admit(&c, a, false); err != nil || !v.Look {
		t.Fatalf("without a look at the disk: %+v, %v", v, err)
	}
	a.Looked = true
	s.SetRoom(time.Unix(1e9, 0), Boundless(), Boundless())
	for range 2 {
		if v, err := s.Admit(&c, a, s.Covers(&c, a)); err != nil || v.Wait != 0 || v.Look {
			t.Fatalf("%+v, %v", v, err)
		}
		if d := s.Report(Footprint{}).Demand; d.Promised != a.Need {
			t.Errorf("promised %+v", d.Promised)
		}
	}
	s.Release(&c)
	s.Release(&c)
	if d := s.Report(Footprint{}).Demand; d.Promised != (Footprint{}) {
		t.Errorf("promised %+v", d.Promised)
	}
	s.RefuseCommits()
	if _, err := s.Admit(&c, a, false); !errors.Is(err, zodb.ErrDiskFull) {
		t.Error(err)
	}
}

func TestWaitForAFlushTellsTheTrouble(t *testing.T) {
	t.Parallel()
	s := newState(nil)
	publish(s, 2, 1, 0)
	<-s.Woken()
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { done <- s.WaitFlushed(ctx) }()
	<-s.Woken() // it waits
	if d := s.Decide(true, false); d.Job != JobFlush {
		t.Errorf("job %d", d.Job)
	}
	s.StepFailed(syscall.ENOSPC)
	if err := <-done; !errors.Is(err, zodb.ErrDiskFull) {
		t.Error(err)
	}
	if d := s.Decide(true, false); d.Job != JobNone || d.Wait != time.Second {
		t.Errorf("job %d, in %v", d.Job, d.Wait)
	}
	if r := s.Report(Footprint{}); r.TroubleKind != zodb.TroubleDisk || !errors.Is(r.Trouble, syscall.ENOSPC) {
		t.Errorf("%+v", r)
	}
	s.StepSucceeded()
	if err := s.Report(Footprint{}).Trouble; err != nil {
		t.Error(err)
	}
}

// TestWhatFailedIsNotLeft: a storage that has become read-only changes no file, misc/snapshot
// included; one that is closed still leaves a mode that ends by itself.
func TestWhatFailedIsNotLeft(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		s, want := newState(nil), JobLeave
		s.StartInSnapshot(SublockHeld)
		s.Close()
		if fails {
			_ = s.Fail(errors.New("of a test"))
			want = JobStop
		}
		if d := s.Decide(true, true); d.Job != want {
			t.Errorf("failed: %v: job %d, want %d", fails, d.Job, want)
		}
	}
}

// TestWhyItStartedInSnapshotMode: nobody is said to hold misc/sublock where the disk was full.
func TestWhyItStartedInSnapshotMode(t *testing.T) {
	t.Parallel()
	for reason, want := range map[StartReason]string{SublockHeld: "while somebody held misc/sublock", DiskFull: "when the disk was full"} {
		s := newState(nil)
		s.StartInSnapshot(reason)
		if got := s.describeMode(); !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}

// TestFilesLeftFollowARunningFlush: the shown progress of a long flush does not stand still.
func TestFilesLeftFollowARunningFlush(t *testing.T) {
	t.Parallel()
	s := newState(nil)
	left := func() int { return s.Report(Footprint{}).UnflushedFiles }
	batch := []*Committed{publish(s, 1, 1, 0), publish(s, 2, 2, 0)}
	publish(s, 3, 3, 0)
	all := left()
	s.BeginFlush(batch)
	s.Progress.Expect(10)
	if got := left(); all != 15 || got != all {
		t.Errorf("at the beginning %d files of %d, want 15", got, all)
	}
	s.Progress.Add(5)
	if got := left(); got != 10 {
		t.Errorf("after half of the batch %d files, want 10", got)
	}
	s.Progress.Add(5)
	if got := left(); got != 5 {
		t.Errorf("after all of the batch %d files, want 5", got)
	}
	s.EndFlush() // it failed
	if got := left(); got != all {
		t.Errorf("after a flush that failed %d files, want %d", got, all)
	}
	s.BeginFlush(batch)
	s.Progress.Expect(10)
	s.Progress.Add(10)
	s.Flushed(batch, zodb.Counts{}, time.Second)
	if got := left(); got != 5 {
		t.Errorf("after the flush %d files, want 5", got)
	}
}
