package state

import (
	"testing"
	"time"
)

func TestWritersAreSlowedDownByHowMuchOfTheBacklogIsUsed(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	admitted := func(used float64) int { // in a second of a flush that makes 10,000 files a second
		p := pace{}
		p.measure(measuredFrom-1, time.Hour) // says nothing
		p.measure(20_000, 2*time.Second)
		n := 0
		for clock := now; clock.Before(now.Add(time.Second)); n++ {
			clock = clock.Add(p.pause(clock, used, 10))
			if n > 100_000 {
				break
			}
		}
		return n
	}
	for _, tc := range []struct {
		used     float64
		min, max int
	}{{0.1, 100_000, 200_000}, {0.49, 100_000, 200_000}, {0.51, 1900, 2001}, {0.75, 990, 1010}, {0.99, 500, 540}} {
		if n := admitted(tc.used); n < tc.min || n > tc.max {
			t.Errorf("with %v of the backlog used %d transactions a second, want %d to %d", tc.used, n, tc.min, tc.max)
		}
	}
	p := pace{rate: 1}
	for range 100 {
		if d := p.pause(now, 0.9, 1000); d > maxPause {
			t.Fatalf("a pause of %v", d)
		}
	}
}

func TestBackOffGrowsToALimit(t *testing.T) {
	t.Parallel()
	for inRow, want := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 5: 16, 6: 16, 1000: 16} {
		if got := BackOff(time.Second, inRow); got != want*time.Second {
			t.Errorf("after %d: %v", inRow, got)
		}
	}
}
