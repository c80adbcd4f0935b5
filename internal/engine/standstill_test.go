package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// fileState is a file or directory of A, in all that a copier can see of it.
type fileState struct {
	vfs.Info
	content string // of a file
}

// stateOf returns all that is below a directory, by name.
func stateOf(f vfs.FS, dir string) (map[string]fileState, error) {
	all := make(map[string]fileState)
	info, err := f.Stat(dir)
	if err != nil {
		return nil, err
	}
	all[dir] = fileState{Info: info}
	for e, err := range f.List(dir) {
		if err != nil {
			return nil, err
		}
		name := dir + "/" + e.Name
		if e.IsDir() {
			below, err := stateOf(f, name)
			if err != nil {
				return nil, err
			}
			maps.Copy(all, below)
			continue
		}
		info, err := f.Stat(name)
		if err != nil {
			return nil, err
		}
		b, err := f.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all[name] = fileState{info, string(b)}
	}
	return all, nil
}

// changedIn names the differences between two states of A.
func changedIn(before, after map[string]fileState) (names []string) {
	for name, was := range before {
		is, there := after[name]
		switch {
		case !there:
			names = append(names, name+" is gone")
		case is.content != was.content:
			names = append(names, name+" has other content")
		case is != was:
			names = append(names, fmt.Sprintf("%s was %+v, is %+v", name, was.Info, is.Info))
		}
	}
	for name := range after {
		if _, there := before[name]; !there {
			names = append(names, name+" is new")
		}
	}
	slices.Sort(names)
	return names
}

// stillA wants A to stand still: no operation may change it, not even for a moment.
type stillA struct {
	t     *testing.T
	disk  *crashfs.FS
	state map[string]fileState

	mu  sync.Mutex
	ops []string // that touched A
}

// decide notes operations on A; see [errfs.New].
func (a *stillA) decide(op errfs.Op) error {
	switch op.Kind {
	case "sync", "syncdir", "syncall": // change nothing
		return nil
	}
	if op.Changes() && (op.Name == "A" || strings.HasPrefix(op.Name, "A/")) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ops = append(a.ops, op.Kind+" "+op.Name)
	}
	return nil
}

// begin is called when a snapshot was entered.
func (a *stillA) begin(f *errfs.FS) {
	a.t.Helper()
	var err error
	if a.state, err = stateOf(a.disk, "A"); err != nil {
		a.t.Fatal(err)
	}
	f.Decide(a.decide)
}

// want compares A with its state at begin.
func (a *stillA) want(after string) {
	a.t.Helper()
	a.mu.Lock()
	ops := a.ops
	a.mu.Unlock()
	is, err := stateOf(a.disk, "A")
	if err != nil {
		a.t.Fatal(err)
	}
	if changed := changedIn(a.state, is); changed != nil || ops != nil {
		a.t.Fatalf("A after %s in snapshot mode:\n%s\noperations on A: %v", after, strings.Join(changed, "\n"), ops)
	}
}

// waits does something that has to wait for the end of snapshot mode, and gives it up. began: it has
// come as far as it can.
func (a *stillA) waits(name string, do func(ctx context.Context) error, began func() bool) {
	a.t.Helper()
	ctx, cancel := context.WithCancel(a.t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	eventually(a.t, name+" waits", began)
	a.want("a waiting " + name)
	select {
	case err := <-ended:
		a.t.Fatalf("%s ended in snapshot mode: %v", name, err)
	default:
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		a.t.Fatalf("%s that was given up: %v", name, err)
	}
	a.want(name + " that was given up")
}

// TestAStandsStillWhateverIsAsked: in snapshot mode no byte, name, time or link of A changes, and
// no operation touches it, at any request: flushes, merges, packs, undeletes, giving space back,
// another snapshot, a close and an open while the copier has the sublock, a kill and an open.
func TestAStandsStillWhateverIsAsked(t *testing.T) {
	t.Parallel()
	for _, format := range allFormats() {
		delays := []string{"1000000"}
		if format == layout.Bundled {
			delays = append(delays, "0", "100") // of which some may be purged or written again
		}
		for _, delay := range delays {
			t.Run(fmt.Sprint(format, " delay_delete ", delay), func(t *testing.T) {
				t.Parallel()
				standStill(t, packCase{format: format, seed: 1700, set: "storage.min_pack_time=0 storage.delay_delete=" + delay})
			})
		}
	}
}

func standStill(t *testing.T, c packCase) {
	disk := crashfs.New(int64(c.seed))
	if err := c.home(disk); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	o := c.options(f)
	disk.SetClock(o.Clock)
	s, m, err := c.filled(t.Context(), o, 24)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // it may be closed
	doPack(t, s, zodb.PackOptions{Time: m.txns[16].tid.Time()})
	n := 0
	more := func(count int) {
		t.Helper()
		for range count {
			n++
			commit(t, s, change{oid: 0, data: rec(fmt.Sprint("root ", n))}, change{oid: zodb.OID(100 + n%7), data: rec(fmt.Sprint("x ", n)), blob: fmt.Sprint("blob ", n)})
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	more(3)
	if err := s.EnterSnapshot(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	a := &stillA{t: t, disk: disk}
	a.begin(f)
	more(3)
	a.want("flushes")
	a.waits("a pack", func(ctx context.Context) error { _, err := s.Pack(ctx, zodb.PackOptions{}); return err },
		func() bool { return s.state.TaskWaits() != "" })
	if delay := s.Settings().Storage.DelayDelete; delay > 0 {
		a.waits("an undelete", func(ctx context.Context) error { _, err := s.Undelete(ctx, 0); return err },
			func() bool { return s.state.TaskWaits() != "" })
	}
	asked := make(chan struct{})
	a.waits("giving space back", func(ctx context.Context) error {
		close(asked)
		return s.worker.Reclaim(ctx, 0)
	}, func() bool { <-asked; more(3); return true })
	if err := s.EnterSnapshot(t.Context(), "b"); !errors.Is(err, zodb.ErrSnapshotMode) {
		t.Errorf("entered twice: %v", err)
	}
	if err := s.LeaveSnapshot(t.Context(), "b"); !errors.Is(err, zodb.ErrSnapshotMode) {
		t.Errorf("left under another code: %v", err)
	}
	a.want("requests of another owner")
	more(80) // more than there may be bundles in B
	if c.format == layout.Bundled {
		eventually(t, "merges in B", func() bool { return len(bundlesOf(t, disk, "B")) < 70 })
	}
	a.want("merges in B")
	still, err := disk.Lock(sublockFile) // the copier's
	if err != nil {
		t.Fatal(err)
	}
	if err := s.LeaveSnapshot(t.Context(), "a"); !errors.Is(err, zodb.ErrLocked) {
		t.Errorf("left while A is copied: %v", err)
	}
	a.want("a leave that failed")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	a.want("a close")
	if s, err = Open(t.Context(), "", o); err != nil {
		t.Fatal(err)
	}
	more(2)
	a.waits("a pack after an open", func(ctx context.Context) error { _, err := s.Pack(ctx, zodb.PackOptions{}); return err },
		func() bool { return s.state.TaskWaits() != "" })
	a.want("an open")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	a.want("another close")

	// Now its time has come.
	if err := still.Close(); err != nil {
		t.Fatal(err)
	}
	f.Decide(nil)
	if s, err = Open(t.Context(), "", o); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := load(t, s, 0); got != string(rec(fmt.Sprint("root ", n))) {
		t.Errorf("the root is %q", got)
	}
	if err := errors.Join(s.Close(), sound(t.Context(), disk, false)); err != nil {
		t.Error(err)
	}
	if is, err := stateOf(disk, "A"); err != nil || changedIn(a.state, is) == nil {
		t.Errorf("A does not change afterwards: %v", err)
	}
}

// TestAStandsStillAfterAKill: the storage is killed in snapshot mode, at some moment of its work, and
// another process opens it while the copier goes on.
func TestAStandsStillAfterAKill(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 6)
	var cases []packCase
	var names []string
	for i, format := range allFormats() {
		cases = append(cases, packCase{format: format, seed: uint64(i) + 1750, set: "storage.min_pack_time=0 storage.delay_delete=100"})
		names = append(names, format.String())
	}
	ops := faulttest.SampledOf(t, hometest.OneOf(1, 151, 211), hometest.Phase(t), names, func(t *testing.T, c int, at faulttest.Nth, _ int) ([]string, bool) {
		return cases[c].killedInSnapshot(t, at)
	})
	if ops < 20*len(cases) {
		t.Errorf("the work has only %d operations", ops)
	}
}

// killedInSnapshot kills the storage before an operation, and returns those of the work, and whether it came.
func (c packCase) killedInSnapshot(t *testing.T, at faulttest.Nth) (log []string, came bool) {
	t.Helper()
	disk := crashfs.New(int64(c.seed))
	if err := c.home(disk); err != nil {
		t.Fatal(err)
	}
	o := c.options(disk)
	disk.SetClock(o.Clock)
	s, m, err := c.filled(t.Context(), o, 20)
	if err != nil {
		t.Fatal(err)
	}
	doPack(t, s, zodb.PackOptions{Time: m.txns[12].tid.Time()})
	commit(t, s, change{oid: 0, data: rec("root")})
	if err := s.EnterSnapshot(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	before, err := stateOf(disk, "A")
	if err != nil {
		t.Fatal(err)
	}
	begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
	for i := range 6 {
		if _, err = tryCommit(s, zodb.TxnMeta{}, change{oid: 0, data: rec(fmt.Sprint("root ", i)), blob: "a blob"}); err == nil && i%2 == 1 {
			err = s.Flush(t.Context())
		}
		if err != nil {
			break
		}
	}
	cerr := s.Close()
	if log = disk.Log()[begun:]; !cut.Load() {
		if err = errors.Join(err, cerr); err != nil {
			t.Fatal(err)
		}
		return log, false
	}
	next := disk.Killed()
	still, err := next.Lock(sublockFile)
	if err != nil {
		t.Fatal(err)
	}
	a := &stillA{t: t, disk: next, state: before}
	a.want("the kill")
	f := errfs.New(next, a.decide)
	o.fs = f
	if s, err = Open(t.Context(), "", o); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // it may be closed
	a.want("the open")
	commit(t, s, change{oid: 0, data: rec("root again")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.want("a flush of the next process")
	f.Decide(nil)
	if err := still.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := errors.Join(s.WaitNormal(ctx), s.Close(), sound(ctx, next, false)); err != nil {
		t.Errorf("killed before %v: %v", at, err)
	}
	return log, true
}
