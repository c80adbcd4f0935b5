package hometest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPhaseIsThatOfTheDayOrGiven(t *testing.T) {
	t.Parallel()
	evening := time.Date(2026, 11, 27, 23, 59, 59, 0, time.UTC)
	for _, tc := range []struct {
		now   time.Time
		given string
		want  int
	}{
		{evening, "", 20784},
		{evening.Add(time.Second), "", 20785},
		{evening.Add(time.Second).In(time.FixedZone("", -3600)), "", 20785},
		{evening, "0", 0},
		{evening, "20785", 20785},
	} {
		if got, err := phaseAt(tc.now, tc.given); got != tc.want || err != nil {
			t.Errorf("at %s, given %q: %d, %v; want %d", tc.now, tc.given, got, err, tc.want)
		}
	}
	for _, wrong := range []string{"-1", "today"} {
		if _, err := phaseAt(evening, wrong); err == nil || !strings.Contains(err.Error(), "DIRSTORAGE_PHASE") {
			t.Errorf("given %q: %v", wrong, err)
		}
	}
}

// TestAllCasesHaveTheirDay: in as many days as the distance each case comes once, and none goes by without any.
func TestAllCasesHaveTheirDay(t *testing.T) {
	for cases := range 6 {
		for distance := 1; distance < 9; distance++ {
			all := make([]int, cases)
			for i := range all {
				all[i] = i
			}
			var seen []int
			for day := range max(1, min(distance, cases)) {
				t.Setenv("DIRSTORAGE_PHASE", strconv.Itoa(day))
				today := Today(t, distance, all)
				if len(today) == 0 && cases > 0 {
					t.Errorf("%d cases, distance %d, day %d: none", cases, distance, day)
				}
				seen = append(seen, today...)
			}
			if slices.Sort(seen); !slices.Equal(seen, all) {
				t.Errorf("%d cases, distance %d: %v", cases, distance, seen)
			}
		}
	}
}

// failing is a test of which the cleanup is seen.
type failing struct {
	testing.TB
	failed  bool
	cleanup []func()
	log     []string
}

func (f *failing) Helper()          {}
func (f *failing) Failed() bool     { return f.failed }
func (f *failing) Cleanup(c func()) { f.cleanup = append(f.cleanup, c) }
func (f *failing) Logf(format string, args ...any) {
	f.log = append(f.log, fmt.Sprintf(format, args...))
}

func TestPhaseIsPrintedByATestThatFails(t *testing.T) {
	t.Setenv("DIRSTORAGE_PHASE", "17")
	for _, failed := range []bool{false, true} {
		f := &failing{TB: t, failed: failed}
		if got := Phase(f); got != 17 {
			t.Errorf("phase %d", got)
		}
		for _, c := range f.cleanup {
			c()
		}
		if said := strings.Contains(strings.Join(f.log, "\n"), "DIRSTORAGE_PHASE=17 repeats"); said != failed {
			t.Errorf("failed %t: %q", failed, f.log)
		}
	}
}
