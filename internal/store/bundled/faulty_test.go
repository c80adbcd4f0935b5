package bundled_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// faulty is a store whose disk fails now and then, whose process is killed, and whose power is cut, in the midst of
// any work. The work is repeated until it is done, as the engine does it.
type faulty struct {
	h         *history
	r         *rand.Rand
	disk      *crashfs.FS
	f         *errfs.FS
	clock     time.Time
	noSyncAll bool // the system cannot sync everything at once

	seen, failAt int // operations of this attempt; at which one fails, 0: none

	frozen     bool              // commits are put into B
	still      map[string]string // A when it was frozen
	heap, news *crashfs.FS       // all states of A, and all that is new by its time since the one before, laid over each other
	since      time.Time

	log                            []string
	errors, cuts, kills, snapshots int
}

// now is a clock that goes on at each look.
func (z *faulty) now() time.Time {
	z.clock = z.clock.Add(time.Duration(z.r.IntN(900)) * time.Millisecond)
	return z.clock
}

func (z *faulty) decide(op errfs.Op) error {
	if z.noSyncAll && op.Kind == "syncall" {
		return vfs.ErrNotSupported
	}
	if !op.Changes() {
		return nil
	}
	z.seen++
	if z.failAt == 0 || z.seen < z.failAt {
		return nil
	}
	z.failAt = 0
	z.log = append(z.log, fmt.Sprintf("  fails: %s %s", op.Kind, op.Name))
	return []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO}[z.r.IntN(3)]
}

// soundly does something without faults.
func (z *faulty) soundly(work func() error) error {
	z.f.Decide(nil)
	defer z.f.Decide(z.decide)
	return work()
}

func (z *faulty) side() store.Side {
	if z.frozen {
		return store.B
	}
	return store.A
}

// open opens the store, and puts the transactions behind its mark again, as the engine does from the log.
func (z *faulty) open() error {
	z.f = errfs.New(z.disk, z.decide)
	s, err := bundled.New(bundled.Options{FS: z.f, Sync: true, DirSync: true, Clock: z.now, MergeFactor: 2, MergeSize: 1 << 20, CommitEvery: 3})
	if err != nil {
		return err
	}
	z.h.s = s
	if z.frozen {
		s.UseB()
	}
	if err := s.SyncFound(); err != nil {
		return err
	}
	mark, err := s.Mark(layout.XSerial)
	if err != nil {
		return err
	}
	var batch []store.Transaction
	for _, tid := range slices.Sorted(maps.Keys(z.h.txns)) {
		if tid > zodb.TID(mark) {
			batch = append(batch, z.h.txns[tid])
		}
	}
	if len(batch) == 0 {
		return nil
	}
	if err := s.Put(z.side(), batch, new(store.Progress)); err != nil {
		return err
	}
	if err := s.SetLast(z.side(), z.h.last); err != nil {
		return err
	}
	return s.Sync()
}

// endProcess kills the process, or cuts the power, and opens the store again; that may end in the same ways.
func (z *faulty) endProcess() error {
	for range 20 {
		z.restart(z.r.IntN(2) == 0)
		if z.r.IntN(3) == 0 {
			z.disk.CrashAt(z.disk.Ops() + 1 + z.r.IntN(25))
		}
		err := z.open()
		if _, crashed := z.disk.Stat("A"); !errors.Is(crashed, crashfs.ErrCrashed) {
			z.disk.CrashAt(0)
			return err
		}
		z.log = append(z.log, "  in the open")
	}
	return errors.New("it is never open")
}

// restart gives the disk to another process.
func (z *faulty) restart(powerCut bool) {
	z.failAt = 0
	z.disk.CrashAt(0)
	if powerCut {
		z.cuts++
		z.disk = z.disk.Crashed(crashfs.Random(z.r.Uint32()))
	} else {
		z.kills++
		z.disk = z.disk.Killed()
	}
	z.disk.SetClock(z.now)
	z.log = append(z.log, fmt.Sprintf("  the process ends, power cut %t", powerCut))
}

// do does some work until it is done. Something may go wrong in it, once or more often.
func (z *faulty) do(name string, work func() error) error {
	z.log = append(z.log, name)
	z.seen = 0
	switch z.r.IntN(6) {
	case 0:
		z.disk.CrashAt(z.disk.Ops() + 1 + z.r.IntN(25))
	case 1, 2, 3:
		z.failAt = 1 + z.r.IntN(20)
	}
	for range 20 {
		err := work()
		if _, crashed := z.disk.Stat("A"); errors.Is(crashed, crashfs.ErrCrashed) {
			err = crashed
		}
		if err == nil {
			z.failAt = 0
			z.disk.CrashAt(0)
			return nil
		}
		if err := z.afterwards(err); err != nil {
			return err
		}
	}
	return errors.New("it does not end")
}

// afterwards is between an error of some work and its repetition: the process ends, or goes on.
func (z *faulty) afterwards(err error) error {
	if errors.Is(err, crashfs.ErrCrashed) {
		if err := z.endProcess(); err != nil {
			return err
		}
		if z.r.IntN(3) == 0 {
			z.disk.CrashAt(z.disk.Ops() + 1 + z.r.IntN(25))
		}
		return nil
	}
	z.errors++
	switch {
	case z.h.s.Failure() != nil, z.r.IntN(5) == 0,
		strings.Contains(err.Error(), "not written anew since"): // a blob cannot be: the engine is read-only then
		return z.endProcess()
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		if z.r.IntN(3) == 0 {
			z.seen, z.failAt = 0, 1+z.r.IntN(20)
		}
		return nil
	case strings.Contains(err.Error(), "a sync failed when it was put"): // until a merge has written it again
		_ = z.h.tend(func() error { return nil }) // an error comes again
		return nil
	}
	return fmt.Errorf("unexpected: %w", err)
}

// blob puts a file into the journal for one of three transactions.
func (z *faulty) blob(tid zodb.TID) string {
	if z.h.r.IntN(3) > 0 {
		return ""
	}
	name := fmt.Sprintf("journal/blob-%d", tid)
	if err := z.soundly(func() error {
		return vfs.WriteFileAtomic(z.f, "journal/aside", name, []byte(name), vfs.SyncOptions{File: true, Dir: true})
	}); err != nil {
		panic(err) // of a disk in memory
	}
	return name
}

// freeze begins a snapshot, and adds A to the heaps.
func (z *faulty) freeze() error {
	moment := z.now()
	if err := z.do("freeze", func() error {
		if err := z.h.thaw(); err != nil {
			return err
		}
		if err := z.h.s.Sync(); err != nil {
			return err
		}
		_, err := z.h.s.RaiseFloor(moment)
		return err
	}); err != nil {
		return err
	}
	z.frozen = true
	z.snapshots++
	z.h.s.UseB()
	err := errors.Join(z.lay(z.heap, time.Time{}), z.lay(z.news, z.since))
	z.since = moment
	if err == nil {
		err = errors.Join(z.h.checkStill(z.heap), z.h.checkStill(z.news))
	}
	if err == nil {
		z.still, err = z.filesOfA()
	}
	return err
}

// lay copies all files that are not older than a time.
func (z *faulty) lay(to *crashfs.FS, since time.Time) error {
	return copyTo(to, z.disk, func(yield func(string, error) bool) {
		for name, err := range vfs.Walk(z.disk, "A") {
			if err == nil {
				var info vfs.Info
				if info, err = z.disk.Stat(name); err == nil && info.ModTime.Before(since) {
					continue
				}
			}
			if !yield(name, err) {
				return
			}
		}
	})
}

// filesOfA returns the time and content of each.
func (z *faulty) filesOfA() (map[string]string, error) {
	files := make(map[string]string)
	for name, err := range vfs.Walk(z.disk, "A") {
		if err != nil {
			return nil, err
		}
		info, err := z.disk.Stat(name)
		if err != nil {
			return nil, err
		}
		b, err := z.disk.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files[name] = info.ModTime.String() + string(b)
	}
	return files, nil
}

// standsStill reports a change of A while it is frozen.
func (z *faulty) standsStill() error {
	if !z.frozen {
		return nil
	}
	now, err := z.filesOfA()
	if err != nil {
		return err
	}
	for name, was := range z.still {
		if is, ok := now[name]; !ok || is != was {
			return fmt.Errorf("%s has changed in A", name)
		}
	}
	more := slices.DeleteFunc(slices.Sorted(maps.Keys(now)), func(name string) bool { _, was := z.still[name]; return was })
	if len(more) > 0 {
		return fmt.Errorf("A has %q, and had not", more)
	}
	return nil
}

// step is any work that is possible now.
func (z *faulty) step() error {
	n := z.r.IntN(17)
	switch {
	case n < 4 && z.frozen:
		z.frozen = false
		return z.do("thaw", z.h.thaw)
	case n == 0:
		return z.freeze()
	case (n == 1 || n == 12 || n == 13) && !z.frozen:
		return z.do("pack", z.h.toPack())
	case n == 2:
		return z.do("bring back", z.h.toBringBack())
	case (n == 3 || n == 14) && !z.frozen:
		return z.do("purge", z.h.toPurge())
	case n < 7 || n > 14:
		return z.do("tend", func() error {
			if !z.frozen {
				if err := z.h.thaw(); err != nil {
					return err
				}
			}
			return z.h.tend(func() error { return nil })
		})
	case n == 7:
		z.log = append(z.log, "the clock steps back")
		z.clock = z.clock.Add(-time.Duration(z.r.IntN(100)) * time.Second)
		return nil
	}
	return z.do("put", z.h.toPut(z.side()))
}

// check compares everything with the right content.
func (z *faulty) check() error {
	return z.soundly(func() error { return errors.Join(z.h.check(z.h.s), z.h.checkBlobs(z.h.s), z.standsStill()) })
}

func (z *faulty) run(steps int) error {
	z.disk.SetClock(z.now)
	if err := errors.Join(makeEmpty(z.disk), z.open(), z.h.thaw()); err != nil {
		return err
	}
	for i := range steps {
		err := z.step()
		if err == nil {
			err = z.check()
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		if i%9 > 0 {
			continue
		}
		z.log = append(z.log, "close, open")
		if err := errors.Join(z.h.s.Close(), z.open(), z.check()); err != nil {
			return fmt.Errorf("opened after step %d: %w", i, err)
		}
	}
	return z.h.s.Close()
}

// TestFaultsInAnyOrderLoseNothing: random work on a store with errors of the disk, kills and power cuts in between,
// and with a clock that steps back. At each step all revisions and blobs are as they should be; A stands still in
// a snapshot; and all snapshots laid over each other are the newest, also if only the files that are newer by their
// time are taken. There are other seeds each day.
func TestFaultsInAnyOrderLoseNothing(t *testing.T) {
	t.Parallel()
	seeds := hometest.Rounds(t, 40/hometest.OneOf(1, 5, 10))
	var all faulty
	for i := range seeds {
		seed := uint64(hometest.Phase(t)*seeds + i)
		z := &faulty{
			r: rand.New(rand.NewPCG(seed, 5)), clock: time.Unix(1_700_000_000, 0), disk: crashfs.New(int64(seed)),
			heap: crashfs.New(7), news: crashfs.New(8), noSyncAll: seed%3 == 0, h: newHistory(nil, seed),
		}
		z.h.blob = z.blob
		if seed%2 == 0 {
			z.h.aside, z.h.least = 3, 1e-9
		}
		if err := z.run(120); err != nil {
			t.Fatalf("seed %d, without syncfs %t: %v\n%s", seed, z.noSyncAll, err, strings.Join(z.log[max(0, len(z.log)-25):], "\n"))
		}
		all.errors, all.cuts, all.kills, all.snapshots = all.errors+z.errors, all.cuts+z.cuts, all.kills+z.kills, all.snapshots+z.snapshots
	}
	t.Logf("%d seeds: %d errors, %d power cuts, %d kills, %d snapshots", seeds, all.errors, all.cuts, all.kills, all.snapshots)
	if all.errors < seeds || all.cuts < seeds || all.kills < seeds || all.snapshots < seeds {
		t.Error("too little went wrong")
	}
}
