package packing

import (
	"fmt"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

func TestProgressOfAPackHasRateAndTimeLeft(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		done, total int64
		after       time.Duration
		want        string
	}{
		{300, 1200, 30 * time.Second, "[phase marking done 300 total 1200 dur 30s rate 10 left 1m30s]"},
		{300, 0, 30 * time.Second, "[phase marking done 300 total 0 dur 30s rate 10]"},
		{1300, 1200, 30 * time.Second, "[phase marking done 1300 total 1200 dur 30s rate 43]"},
		{0, 1200, 30 * time.Second, "[phase marking done 0 total 1200 dur 30s rate 0]"},
		{5, 1200, 0, "[phase marking done 5 total 1200 dur 0s rate 0]"},
	} {
		g := zodb.PackProgress{Phase: "marking", Since: since, Done: tt.done, Total: tt.total}
		now := since.Add(tt.after)
		estimate(&g, now)
		if got := fmt.Sprint(logged(&g, now)); got != tt.want {
			t.Errorf("%d of %d after %s: %s, want %s", tt.done, tt.total, tt.after, got, tt.want)
		}
	}
}
