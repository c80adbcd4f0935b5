package check

import (
	"runtime/debug"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
)

// TestMemoryOfACheckFollowsTheLimitOfTheProcess is not parallel: the limit is that of all.
func TestMemoryOfACheckFollowsTheLimitOfTheProcess(t *testing.T) {
	h := newTestHome(t, layout.Bushy, "Full")
	for _, tc := range []struct {
		limit, option int64 // of the process; Options.MemoryLimit
		sets          int64
		listings      int
		workers       int // at most
	}{
		{limit: 16 << 30, sets: 128 << 20, listings: 8 << 20, workers: 1 << 20},
		{limit: 64 << 20, sets: 8 << 20, listings: 2 << 20, workers: 64 << 20 / 4 / workerMemory},
		{limit: 64 << 20, option: 32 << 20, sets: 16 << 20, listings: 2 << 20, workers: 64 << 20 / 4 / workerMemory},
	} {
		before := debug.SetMemoryLimit(tc.limit)
		c, err := newChecker(Options{FS: h.fs, MemoryLimit: tc.option}, func(f Finding) { t.Error(f) })
		debug.SetMemoryLimit(before)
		if err != nil {
			t.Fatal(err)
		}
		if c.memoryLimit != tc.sets || c.listings.room != tc.listings {
			t.Errorf("limit %d: a set may take %d bytes, want %d; the cache of transactions %d, want %d", tc.limit, c.memoryLimit, tc.sets, c.listings.room, tc.listings)
		}
		if c.workers < 1 || c.workers > max(1, tc.workers) {
			t.Errorf("limit %d: %d workers, want at most %d", tc.limit, c.workers, tc.workers)
		}
	}
}
