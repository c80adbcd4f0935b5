package faulttest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
)

// worked is work that begins with other operations in each run, and has rare ones behind them. It returns the one that was prevented.
func worked(run int, rare string, at faulttest.Nth) (log []string, prevented string) {
	disk := crashfs.New(1)
	faulttest.CutBefore(disk, at)
	for i := range 40 + run%3 {
		if name := fmt.Sprint("d-", i); disk.Mkdir(name) != nil {
			return disk.Log(), name
		}
	}
	if disk.Mkdir(rare) != nil {
		return disk.Log(), rare
	}
	if disk.SyncDir(".") != nil {
		return disk.Log(), "syncdir"
	}
	return disk.Log(), ""
}

func TestSampledTriesEachKindAndInAllPhasesEachOperation(t *testing.T) {
	t.Parallel()
	for _, every := range []int{1, 7, 1000} {
		all := make(map[string]bool)
		for phase := range min(every, 50) {
			var mu sync.Mutex
			tried, run, ops := make(map[string]bool), 0, 0
			t.Run(fmt.Sprint(every, phase), func(t *testing.T) {
				ops = faulttest.SampledOf(t, every, phase, []string{"one", "two"}, func(_ *testing.T, c int, at faulttest.Nth, _ int) ([]string, bool) {
					mu.Lock()
					defer mu.Unlock()
					run++
					log, prevented := worked(run, []string{"one", "two"}[c], at)
					if prevented != "" {
						tried[prevented], all[prevented] = true, true
					}
					return log, prevented != ""
				})
			})
			if few := 84/every + 5; !tried["one"] || !tried["two"] || !tried["syncdir"] || len(tried) > few || ops < 84 {
				t.Errorf("every %d, phase %d: %q of %d operations, want %d", every, phase, slices.Sorted(maps.Keys(tried)), ops, few)
			}
		}
		if every < 50 && len(all) < 43 {
			t.Errorf("every %d: in all phases only %q", every, slices.Sorted(maps.Keys(all)))
		}
	}
}

// TestSampledFailsWhereNothingIsTried: the operations are in the first run only, or it is ended unasked.
func TestSampledFailsWhereNothingIsTried(t *testing.T) {
	t.Parallel()
	for want, first := range map[string]bool{"only 0 of 1": false, "nobody asked": true} {
		r := &recorder{TB: t}
		faulttest.Sampled(r, 1, 0, func(faulttest.Nth, int) ([]string, bool) { return []string{"mkdir a"}, first })
		if len(r.failed) != 1 || !strings.Contains(r.failed[0], want) {
			t.Errorf("%q, want %q", r.failed, want)
		}
	}
}

// TestSampledEndsWithTheFirstFailure of the work, and repeats nothing then.
func TestSampledEndsWithTheFirstFailure(t *testing.T) {
	t.Parallel()
	r, runs := &recorder{TB: t}, 0
	faulttest.Sampled(r, 1, 0, func(_ faulttest.Nth, n int) ([]string, bool) {
		if runs++; n == 2 {
			r.Errorf("wrong")
		}
		return []string{"mkdir a", "mkdir b", "mkdir c"}, n == 1
	})
	if runs != 3 || len(r.failed) != 1 {
		t.Errorf("%d runs, %q", runs, r.failed)
	}
}
