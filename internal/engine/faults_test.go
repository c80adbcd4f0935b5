package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
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

// The suites here are about the leavings of an attempt that was killed or failed: see package
// faulttest. Those with nothing but a power cut are in crash_test.go and beside the tests of packs.

// stride is the distance of the operations at which a suite of faults lets something
// go wrong.
func stride(every int) int { return every * hometest.OneOf(1, 72, 288) }

// withoutSyncAll is a file system that cannot sync everything at once.
func withoutSyncAll(f vfs.FS) vfs.FS {
	return errfs.New(f, func(op errfs.Op) error {
		if op.Kind == "syncall" {
			return vfs.ErrNotSupported
		}
		return nil
	})
}

// faultCase is a storage of which a process is killed or an operation fails.
type faultCase struct {
	crashCase
	noSyncAll bool
	back      bool // the clock steps back after each snapshot
}

func (c faultCase) String() string {
	return fmt.Sprintf("%s syncall %t", c.crashCase, !c.noSyncAll)
}

// begin makes a job that commits, flushes, enters and leaves snapshot mode, closes and
// opens; then commits and flushes, after a fault in a storage that was opened again.
func (c faultCase) begin(t testing.TB) func(disk *crashfs.FS) (*faulttest.Job, error) {
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		if err := populateHome(disk, c.class, c.format); err != nil {
			return nil, err
		}
		o := scriptOptions(disk)
		o.History = HistoryKept // after an error at its mark a storage may begin a history; see ownhistory_test.go
		var offset atomic.Int64
		clock := o.Clock
		o.Clock = func() time.Time { return clock().Add(time.Duration(offset.Load())) }
		disk.SetClock(o.Clock)
		if o.lanes = max(1, c.lanes); c.lanes > 0 {
			o.lanesFrom, o.partLen, o.syncEvery = 1, 2, 8
		}
		j := &faultJob{c: c, scenario: scenario{o: o, m: &model{}, rnd: rand.New(rand.NewPCG(c.seed, 0))}}
		if c.back {
			j.left = func() { offset.Add(-int64(time.Hour)) }
		}
		return &faulttest.Job{
			Run: func(f vfs.FS) error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				return j.run(ctx, f)
			},
			Check: func(after *crashfs.FS, _ bool) error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				sc := j.scenario
				sc.m = j.m.clone()
				return sc.recovered(ctx, after)
			},
			End: func() {
				if j.s != nil {
					_ = j.s.Close() // it may be closed
				}
			},
		}, nil
	}
}

// faultJob is one run of a faultCase.
type faultJob struct {
	scenario
	c     faultCase
	again bool   // something went wrong before
	left  func() // is called after a snapshot
}

func (j *faultJob) run(ctx context.Context, f vfs.FS) error {
	if j.c.noSyncAll {
		f = withoutSyncAll(f)
	}
	if j.s != nil {
		_ = j.s.Close() // that of the process before
	}
	j.o.fs = f
	var err error
	if j.s, err = Open(ctx, "", j.o); err != nil {
		j.s = nil
		return err
	}
	steps := j.c.steps
	if j.again {
		steps = 2
		j.m.snapshot, j.m.least = "", 0 // the open has ended it
		if err := j.m.adopt(ctx, j.s); err != nil {
			return err
		}
		if err := j.m.verify(ctx, j.s, len(j.m.acked)); err != nil {
			return fmt.Errorf("after open: %w", err)
		}
	}
	j.again = true
	for range steps {
		before := j.m.snapshot
		if err := j.passing(ctx); err != nil {
			return err
		}
		if before != "" && j.m.snapshot == "" && j.left != nil {
			j.left()
		}
	}
	if j.m.snapshot != "" {
		if err := j.s.LeaveSnapshot(ctx, j.m.snapshot); err != nil {
			return err
		}
		j.m.snapshot, j.m.least = "", 0
	}
	for range 3 {
		if err = errors.Join(j.s.WaitNormal(ctx), j.s.Flush(ctx)); !errors.Is(err, zodb.ErrDiskFull) {
			break
		}
	}
	return errors.Join(err, j.s.state.Failure())
}

// passing does a step, and goes on after an error that passes.
func (j *faultJob) passing(ctx context.Context) error {
	code := j.m.snapshot
	err := j.step(ctx)
	for range 3 {
		closed, mode, failed := errors.Is(j.s.state.Writable(), zodb.ErrClosed), j.s.state.String(), j.s.state.Failure() != nil
		switch {
		case failed || !vfs.SaysFull(err):
			return err
		case closed:
			var s *Storage
			if s, err = Open(ctx, "", j.o); err == nil {
				j.s = s
			}
		case strings.HasPrefix(mode, "user/") && j.m.snapshot == "" && code != "":
			err = j.s.LeaveSnapshot(ctx, code)
		default:
			return nil
		}
	}
	return err
}

func faultCases(t testing.TB) []faultCase {
	var cases []faultCase
	for i := range hometest.Rounds(t, 1) {
		seed := uint64(i)*100 + 20
		for j, format := range allFormats() {
			c := faultCase{crashCase: crashCase{zodb.ClassFull, format, seed + uint64(j), 24, j % 2 * 2}, back: true}
			cases = append(cases, c)
		}
		cases = append(cases,
			faultCase{crashCase: crashCase{zodb.ClassMinimal, layout.Bushy, seed + 5, 24, 0}},
			faultCase{crashCase: crashCase{zodb.ClassFull, layout.Bushy, seed + 6, 24, 0}, back: true, noSyncAll: true},
		)
	}
	return cases
}

// TestKilledThenPowerCut kills a process before each operation of commit, flush,
// snapshot, recombination, close and open; another one opens the storage, commits and
// flushes; then the power is cut, or on the way.
func TestKilledThenPowerCut(t *testing.T) {
	t.Parallel()
	for _, c := range faultCases(t) {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			faulttest.Killed(t, faulttest.Options{Every: stride(5), Seed: c.seed, Phase: hometest.Phase(t)}, c.begin(t))
		})
	}
}

// TestErrorThenPowerCut lets each operation fail once because there is no room, or with an I/O
// error; the effects that a failed sync should have made durable are lost then. The storage goes
// on, or is opened again. Then the power is cut.
func TestErrorThenPowerCut(t *testing.T) {
	t.Parallel()
	for _, c := range faultCases(t) {
		c.back = false // a passing fault is tried again after a while
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			t.Run(fmt.Sprint(c, " ", cause), func(t *testing.T) {
				t.Parallel()
				faulttest.Failed(t, faulttest.Options{Every: stride(7), Seed: c.seed, Phase: hometest.Phase(t), Retries: 2, Midway: true}, cause, c.begin(t))
			})
		}
	}
}

// packFaults makes a job that commits and packs; after a fault the storage is opened
// again and goes on.
func (c packCase) packFaults(t testing.TB, noSyncAll bool) func(disk *crashfs.FS) (*faulttest.Job, error) {
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		if err := c.home(disk); err != nil {
			return nil, err
		}
		m := c.newModel()
		again := false
		var open *Storage
		end := func() {
			if open != nil {
				_ = open.Close() // it may be closed
				open = nil
			}
		}
		return &faulttest.Job{
			Run: func(f vfs.FS) error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if noSyncAll {
					f = withoutSyncAll(f)
				}
				if !again {
					again = true
					return c.run(ctx, f, m, nil)
				}
				end()
				s, err := Open(ctx, "", c.optionsAfter(f, m))
				if err != nil {
					return err
				}
				open = s
				if d := m.doubtful; d != nil && s.LastTransaction() > m.last() {
					d.tid = s.LastTransaction()
					m.add(d)
				}
				m.doubtful = nil
				return errors.Join(s.WaitPack(ctx), s.WaitNormal(ctx), s.Flush(ctx))
			},
			Check: func(after *crashfs.FS, _ bool) error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				return c.recovered(ctx, after, m.clone())
			},
			End: end,
		}, nil
	}
}

// TestKilledInAPackThenPowerCut: the next process goes on with the pack.
func TestKilledInAPackThenPowerCut(t *testing.T) {
	t.Parallel()
	sets := []string{"storage.min_pack_time=1", "storage.delay_delete=0 storage.min_pack_time=1", "storage.keep_policy=undoable storage.min_pack_time=0"}
	for i := range hometest.Rounds(t, len(allFormats())) {
		c := packCase{format: allFormats()[i%len(allFormats())], seed: uint64(i) + 700, set: sets[i%len(sets)], steps: 30, every: 4}
		t.Run(fmt.Sprintf("seed %d %s %s", c.seed, c.format, c.set), func(t *testing.T) {
			t.Parallel()
			faulttest.Killed(t, faulttest.Options{Every: stride(9), Seed: c.seed, Phase: hometest.Phase(t)}, c.packFaults(t, i%4 == 3))
		})
	}
}

// TestErrorInAPackThenPowerCut lets each operation of a pack fail once; the pack is
// repeated, and then the power is cut.
func TestErrorInAPackThenPowerCut(t *testing.T) {
	t.Parallel()
	for i := range hometest.Rounds(t, len(allFormats())) {
		set := []string{"storage.min_pack_time=0", "storage.min_pack_time=0 storage.delay_delete=0"}[i%2]
		c := packCase{format: allFormats()[i%len(allFormats())], seed: uint64(i) + 800, set: set}
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			t.Run(fmt.Sprintf("seed %d %s %s %v", c.seed, c.format, c.set, cause), func(t *testing.T) {
				t.Parallel()
				var packing atomic.Bool
				o := faulttest.Options{Every: stride(5), Seed: c.seed, Phase: hometest.Phase(t), Retries: 2, Fails: func(op errfs.Op) bool { return packing.Load() && op.Changes() }}
				faulttest.Failed(t, o, cause, c.repeated(t, &packing))
			})
		}
	}
}

// repeated makes a job that packs until it gets through; packing says that the pack has begun.
func (c packCase) repeated(t testing.TB, packing *atomic.Bool) func(disk *crashfs.FS) (*faulttest.Job, error) {
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		packing.Store(false)
		if err := c.home(disk); err != nil {
			return nil, err
		}
		var s *Storage
		var m *packModel
		var o Options
		var want []string
		return &faulttest.Job{
			Run: func(f vfs.FS) (err error) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				switch {
				case m == nil:
					o = c.options(f)
					if s, m, err = c.filled(ctx, o, 24); err != nil {
						return err
					}
					packing.Store(true)
				case s.Status().ReadOnly:
					_ = s.Close() // which fails for the same reason
					if s, err = Open(ctx, "", o); err != nil {
						return err
					}
				}
				po := zodb.PackOptions{Time: m.txns[16].tid.Time()}
				if _, err := s.Pack(ctx, po); err != nil {
					return err
				}
				if want == nil {
					m.pack(zodb.TIDFromTime(po.Time), true)
					want = m.names(c.format)
				}
				return nil
			},
			Check: func(after *crashfs.FS, _ bool) error {
				if err := damaged(t.Context(), after); err != nil {
					return err
				}
				o := o
				o.fs = after
				s, err := Open(t.Context(), "", o)
				if err != nil {
					return err
				}
				defer s.Close()
				if err := errors.Join(s.WaitPack(t.Context()), m.verify(t.Context(), s)); err != nil {
					return err
				}
				if got := filesOf(after, c.format); !slices.Equal(got, want) {
					return fmt.Errorf("files in A\n%s", difference(want, got))
				}
				return errors.Join(s.Close(), sound(t.Context(), after, false))
			},
			End: func() { _ = s.Close() },
		}, nil
	}
}

// undeleteFaults makes a job that brings back the files put aside by two packs.
func (c packCase) undeleteFaults(t *testing.T, noSyncAll bool) func(disk *crashfs.FS) (*faulttest.Job, error) {
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		if err := c.home(disk); err != nil {
			return nil, err
		}
		o := c.options(disk)
		s, m, err := c.filled(t.Context(), o, 24)
		if err != nil {
			return nil, err
		}
		before, list := filesOf(disk, c.format), tids(t, s)
		for _, i := range []int{10, 18} {
			doPack(t, s, zodb.PackOptions{Time: m.txns[i].tid.Time()})
		}
		if err := errors.Join(s.Close(), disk.SyncAll()); err != nil {
			return nil, err
		}
		job := storageJob(t, o, func(_ vfs.FS, s *Storage) error {
			_, err := s.Undelete(t.Context(), 0)
			if vfs.SaysFull(err) { // in the same process
				_, err = s.Undelete(t.Context(), 0)
			}
			return err
		}, func(s *Storage, after *crashfs.FS, _ bool) error {
			if d := difference(before, filesOf(after, c.format)); d != "" {
				return fmt.Errorf("files in A:\n%s", d)
			}
			if got := tids(t, s); !slices.Equal(got, list) {
				return fmt.Errorf("transactions %v\nwant %v", got, list)
			}
			return errors.Join(m.verify(t.Context(), s), s.Close(), sound(t.Context(), after, false))
		})
		run, check := job.Run, job.Check
		job.Run = func(f vfs.FS) error {
			if noSyncAll {
				f = withoutSyncAll(f)
			}
			return run(f)
		}
		job.Check = func(after *crashfs.FS, done bool) error {
			if !done {
				return c.undeleted(t, after, m, before, list)
			}
			return check(after, done)
		}
		return job, nil
	}
}

// TestFaultsOfAnUndeleteThenPowerCut kills or fails each operation of an undelete, which is repeated.
func TestFaultsOfAnUndeleteThenPowerCut(t *testing.T) {
	t.Parallel()
	for i := range hometest.Rounds(t, len(allFormats())) {
		c := packCase{format: allFormats()[i%len(allFormats())], seed: uint64(i) + 900, set: "storage.min_pack_time=0"}
		o := faulttest.Options{Every: stride(5), Seed: c.seed, Phase: hometest.Phase(t), Retries: 2}
		t.Run(fmt.Sprintf("seed %d %s killed", c.seed, c.format), func(t *testing.T) {
			t.Parallel()
			faulttest.Killed(t, o, c.undeleteFaults(t, i%4 == 1))
		})
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			t.Run(fmt.Sprintf("seed %d %s %v", c.seed, c.format, cause), func(t *testing.T) {
				t.Parallel()
				faulttest.Failed(t, o, cause, c.undeleteFaults(t, false))
			})
		}
	}
}
