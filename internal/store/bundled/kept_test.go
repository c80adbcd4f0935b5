package bundled_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
)

// withoutSyncAll is a file system that cannot sync everything at once, as on macOS and FreeBSD.
func withoutSyncAll(f vfs.FS) vfs.FS {
	return errfs.New(f, func(op errfs.Op) error {
		if op.Kind == "syncall" {
			return vfs.ErrNotSupported
		}
		return nil
	})
}

// TestMergedBundleIsDurableBeforeItsSourcesGo: a merge is killed before each of its operations, the next process
// removes all that does not count any more, and then the power is cut.
func TestMergedBundleIsDurableBeforeItsSourcesGo(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	cuts := uint32(hometest.OneOf(100, 8, 20)) // at each operation others, and others each day
	first := uint32(hometest.Phase(t)) * 1000
	for name, wrap := range map[string]func(vfs.FS) vfs.FS{"syncall": func(f vfs.FS) vfs.FS { return f }, "without syncall": withoutSyncAll} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := 0
			ops := faulttest.Sampled(t, 1, 0, func(at faulttest.Nth, n int) (log []string, came bool) {
				disk := crashfs.New(1)
				if err := makeEmpty(disk); err != nil {
					t.Fatal(err)
				}
				h := withBundles(t, wrap(disk), 4)
				if err := errors.Join(h.s.Close(), disk.SyncAll(), h.beginAgain(wrap(disk))); err != nil {
					t.Fatal(err)
				}
				begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
				err := h.tend(func() error { return nil })
				if log, came = disk.Log()[begun:], cut.Load(); err != nil && (!came || !errors.Is(err, crashfs.ErrCrashed)) {
					t.Fatalf("killed before %v, which did not come: %v", at, err)
				}
				killed := disk.Killed()
				bundles, err := bundlesIn(killed, store.A)
				if err = errors.Join(err, h.beginAgain(wrap(killed)), h.tend(func() error { return nil })); err != nil {
					t.Fatalf("killed before %v: %v", at, err)
				}
				if bundles == 5 { // the merged one, and the last source
					found++
				}
				for i := range cuts {
					seed := first + uint32(n)*cuts + i
					if err := h.checkOn(killed.Crashed(crashfs.Random(seed))); err != nil {
						t.Fatalf("killed before %v, seed %d: %v", at, seed, err)
					}
				}
				return log, came
			})
			if found == 0 || ops < 10 {
				t.Errorf("%d operations, %d of them with a merged bundle beside its sources: the work is not what it was", ops, found)
			}
		})
	}
}

// beginAgain opens the store as another process does, which finds B empty.
func (h *history) beginAgain(f vfs.FS) (err error) {
	h.s, err = bundled.New(bundled.Options{FS: f, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 2})
	if err == nil {
		err = errors.Join(h.s.SyncFound(), h.thaw())
	}
	return err
}

// checkOn opens a store on another disk and looks at it.
func (h *history) checkOn(f vfs.FS) error {
	s, err := bundled.New(bundled.Options{FS: f, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 2})
	if err != nil {
		return err
	}
	return errors.Join(h.check(s), s.Close())
}
