package hometest

import (
	"fmt"
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
