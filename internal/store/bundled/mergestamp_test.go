package bundled_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

// TestMergedBundlesLookNew: a merge after a snapshot makes a file that is no older than the moment of
// that, also if the clock was set back since.
func TestMergedBundlesLookNew(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	disk := crashfs.New(1)
	disk.SetClock(clock)
	if err := makeEmpty(disk); err != nil {
		t.Fatal(err)
	}
	s, err := bundled.New(bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: clock, MergeFactor: 2})
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory(s, 3)
	asked := now
	err = errors.Join(h.thaw(), h.put(store.A), h.put(store.A))
	if err == nil {
		_, err = s.RaiseFloor(asked)
	}
	now = now.Add(-time.Hour)
	if err = errors.Join(err, h.tend(func() error { return nil })); err != nil {
		t.Fatal(err)
	}
	merged := 0
	for e, err := range disk.List("A/bundles") {
		if err != nil {
			t.Fatal(err)
		}
		info, err := disk.Stat("A/bundles/" + e.Name)
		if err != nil {
			t.Fatal(err)
		}
		if n, _, ok := bundle.ParseName(e.Name); ok && n.Min != n.Max {
			merged++
			if info.ModTime.Before(asked) {
				t.Errorf("%s has the time %s, and the snapshot was asked for at %s", e.Name, info.ModTime, asked)
			}
		}
	}
	if merged == 0 {
		t.Error("nothing was merged")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
