package ops

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWatchdogBeatsTwiceAndSkipsWhatIsStuck lets each check take a time of its own.
func TestWatchdogBeatsTwiceAndSkipsWhatIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		takes := []time.Duration{0, 0, 3 * time.Second, time.Hour, 0}
		begun := time.Now()
		var beats []time.Duration
		ctx, cancel := context.WithTimeout(t.Context(), 32*time.Second)
		defer cancel()
		calls := 0
		check := func(ctx context.Context) error {
			var d time.Duration
			if calls < len(takes) {
				d = takes[calls]
			}
			calls++
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		n := NewNotifier(slog.New(slog.DiscardHandler))
		n.watch(ctx, 5*time.Second, check, func() { beats = append(beats, time.Since(begun)) })
		// The fourth check begins at 15 s and is given up at 20 s.
		want := []time.Duration{0, 5 * time.Second, 13 * time.Second, 20 * time.Second, 25 * time.Second, 30 * time.Second}
		if diff := cmp.Diff(want, beats); diff != "" {
			t.Error(diff)
		}
	})
}
