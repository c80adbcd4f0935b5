package storetest

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
)

// Implementation is a store for [Faults] and [Copies].
type Implementation struct {
	// Make makes an empty store, of class Full, on an empty disk, with the directories journal and misc.
	Make func(disk *crashfs.FS) error
	Open func(f vfs.FS) (store.Store, error)
	// Every is the distance of the operations that go wrong in [Faults], while $DIRSTORAGE_ROUNDS
	// does not ask for more; 0: each does.
	Every int
	// Copies is for the tests of that name; nil: the store has no files of its own.
	Copies store.Copies
}

// Faults does work to a store again and again, on disks of its own: a flush into A and one into B,
// with blobs, and the thaw; a pack that puts aside, and one that removes for good; bringing back; a
// purge; and what the store does for itself, before and after these. The n-th operation is the last
// before the power is cut, or before the process is killed, the work repeated, and then the power cut;
// or it fails, the work is repeated by the same process, and then the power is cut. At every moment all
// holds that the interfaces promise, and at the end all is done. With -short and with the race detector
// it is a part of the operations; $DIRSTORAGE_ROUNDS tries more seeds.
func Faults(t *testing.T, impl Implementation) {
	list, err := scenarios(crashfsWithJournal())
	if err != nil {
		t.Fatal(err)
	}
	for i, sc := range list {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			begin := func(disk *crashfs.FS) (*faulttest.Job, error) { return impl.job(disk, i) }
			o, powerCuts := faulttest.Options{Every: 1, Phase: hometest.Phase(t)}, 4
			if hometest.Rounds(t, 1) == 1 {
				o.Every = max(1, impl.Every) * hometest.OneOf(1, 3, 1)
			}
			if testing.Short() {
				o.Every, powerCuts = 29, 1
			}
			for seed := range hometest.Rounds(t, 1) {
				for more := range powerCuts { // each keeps something else
					o.Seed = uint64(seed + 1000*more)
					faulttest.Cut(t, o, begin)
				}
				o.Seed, o.Fails = uint64(seed), nil
				faulttest.Killed(t, o, begin)
				faulttest.Failed(t, o, syscall.ENOSPC, begin)
				o.Fails = func(errfs.Op) bool { return true }
				faulttest.Failed(t, o, syscall.EIO, begin)
			}
			if disk := crashfs.New(1); !t.Failed() {
				job, err := impl.job(disk, i)
				base := disk.Ops()
				if err == nil {
					err = job.Run(disk)
				}
				if n := disk.Ops() - base; err != nil || n < sc.least {
					t.Errorf("the work has %d operations, want %d at least: it has changed: %v", n, sc.least, err)
				}
			}
		})
	}
}

// crashfsWithJournal is a place for files that nobody looks at.
func crashfsWithJournal() *crashfs.FS {
	disk := crashfs.New(1)
	_ = disk.Mkdir("journal") // it is new
	return disk
}

// job is the i-th scenario on a disk.
func (impl Implementation) job(disk *crashfs.FS, i int) (*faulttest.Job, error) {
	if err := impl.Make(disk); err != nil {
		return nil, err
	}
	list, err := scenarios(disk)
	if err != nil {
		return nil, err
	}
	sc := list[i]
	if sc.before != nil {
		if err := impl.opened(disk, sc.before); err != nil {
			return nil, err
		}
	}
	if err := disk.SyncAll(); err != nil {
		return nil, err
	}
	var s store.Store // of the process, that goes on after an error
	var on vfs.FS
	lost := false
	return &faulttest.Job{
		Run: func(f vfs.FS) error {
			if s == nil || on != f {
				s = nil
				opened, err := impl.begin(f)
				if err != nil {
					return err
				}
				s, on = opened, f
			}
			err := sc.work(s)
			if err != nil && s.Failure() != nil {
				// Nothing becomes durable any more, and the store says so: nothing was promised.
				lost = true
				return nil
			}
			return err
		},
		Check: func(after *crashfs.FS, done bool) error { return impl.check(sc, after, done && !lost) },
	}, nil
}

// begin opens a store as the engine does.
func (impl Implementation) begin(f vfs.FS) (store.Store, error) {
	s, err := impl.Open(f)
	if err == nil {
		err = s.SyncFound()
	}
	return s, err
}

// check looks at the disk after a power cut, on copies, and does the work to its end.
func (impl Implementation) check(sc scenario, after *crashfs.FS, done bool) error {
	on := func(disk *crashfs.FS, look func(s store.Store) error) error {
		return impl.opened(disk, func(s store.Store) error { return errors.Join(s.SyncFound(), look(s)) })
	}
	if err := on(after.Crashed(crashfs.KeepNone), sc.always); err != nil {
		return err
	}
	if done {
		if err := on(after.Crashed(crashfs.KeepNone), sc.end); err != nil {
			return fmt.Errorf("it was done: %w", err)
		}
	}
	again := after.Crashed(crashfs.KeepNone)
	var last *crashfs.FS // the power is cut before the close
	err := on(again, func(s store.Store) error {
		err := sc.work(s)
		last = again.Crashed(crashfs.KeepNone)
		return err
	})
	if err != nil {
		return fmt.Errorf("the work cannot be repeated: %w", err)
	}
	err = on(last.Crashed(crashfs.KeepNone), sc.always)
	if err = errors.Join(err, on(last, sc.end)); err != nil {
		return fmt.Errorf("after it was repeated: %w", err)
	}
	return nil
}
