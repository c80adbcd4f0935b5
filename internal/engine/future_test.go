package engine_test

import (
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestPackOfTransactionsAheadOfTheClock: to pack to now means the newest of them, and to
// an earlier time that time.
func TestPackOfTransactionsAheadOfTheClock(t *testing.T) {
	t.Parallel()
	now := engine.ParseTime("2026-03-01T10:00:00Z")
	for name, tc := range map[string]struct {
		at   time.Time
		keep string // min_pack_time in seconds
		want int    // revisions of the root that stay
	}{
		"now":                   {now, "0", 1},
		"no time":               {time.Time{}, "0", 1},
		"between them":          {now.Add(365 * 24 * time.Hour), "0", 4},
		"yesterday":             {now.Add(-24 * time.Hour), "0", 4},
		"now, but not too near": {now, "90", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := engine.PackStorage(t, engine.Options{Clock: func() time.Time { return now }}, "storage.min_pack_time="+tc.keep)
			future := now.Add(100 * 365 * 24 * time.Hour)
			for i, when := range []time.Time{now.Add(-48 * time.Hour), future, future.Add(time.Minute), future.Add(2 * time.Minute)} {
				restored(t, s, zodb.TIDFromTime(when), ' ', zodb.Record{OID: 0, Data: pickletest.Record(string(rune('a' + i)))})
			}
			engine.DoPack(t, s, zodb.PackOptions{Time: tc.at})
			history, err := s.History(t.Context(), 0, 10)
			if err != nil || len(history) != tc.want {
				t.Fatalf("%d revisions, %v; want %d", len(history), err, tc.want)
			}
		})
	}
}
