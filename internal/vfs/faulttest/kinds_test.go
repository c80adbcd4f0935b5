package faulttest_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
)

func TestKindsOfOperationsAreThoseOfAllFormats(t *testing.T) {
	t.Parallel()
	for op, want := range map[string]string{
		"write journal/log-0000000000000001 0 512":                   "write journal/log-#",
		"allocate journal/spare-3 65536":                             "allocate journal/spare-#",
		"rename journal/aside-current misc/current.note-12":          "rename journal/aside-current misc/current.note-#",
		"link B/o000/000/000/000/0000.03f A/o000/000/000/000/0000.0": "link B/object A/object",
		"create A/o000/000/000/000/0000.c":                           "create A/current",
		"create A/o00/00/00/00/00/00/00/05/c":                        "create A/current",
		"sync B/t03d/5b1":                                            "sync B/transaction",
		"link journal/blob-1-2 A/o05.03d.blob":                       "link journal/blob-#-# A/blob",
		"remove A/bundles/03d-03e.0.tar.zst":                         "remove A/bundles/.zst",
		"mkdir A/blobs/o00":                                          "mkdir A/blobs",
		"touch A/x/serial":                                           "touch A/x.serial",
		"touch A/x.serial":                                           "touch A/x.serial",
		"exchange home home.restoring":                               "exchange home home.restoring",
		"syncdir misc":                                               "syncdir misc",
		"syncall":                                                    "syncall",
	} {
		if got := faulttest.Kind(op); got != want {
			t.Errorf("%s: %q, want %q", op, got, want)
		}
		if again := faulttest.Kind(want); again != want {
			t.Errorf("the kind %q is not its own, but %q", want, again)
		}
	}
}

// TestSampleOfRunsHasEachKindInEachPhaseAndAllOperationsInAll: kinds are rare or frequent, and in one run
// or in several.
func TestSampleOfRunsHasEachKindInEachPhaseAndAllOperationsInAll(t *testing.T) {
	t.Parallel()
	logs := make([][]string, 3)
	for i := range 500 {
		run := i * 7 % 3
		op := fmt.Sprintf("write journal/log-%d 0 1", i)
		switch {
		case i%100 == 3:
			op = "exchange home home.new"
		case i%17 == 5:
			op = fmt.Sprintf("link B/t%d A/t%d", i, i)
		case i == 77:
			op = "syncall"
		}
		logs[run] = append(logs[run], op)
	}
	runs := faulttest.NewRuns(logs...)
	kinds := runs.Kinds()
	if len(kinds) != 4 {
		t.Fatalf("kinds %q", kinds)
	}
	for _, every := range []int{1, 2, 48, 1000} {
		tried, most := make(map[string]bool), 0
		for phase := range every {
			count := 0
			chosen := runs.Sample(every, phase)
			for run, ns := range chosen {
				if !slices.IsSorted(ns) {
					t.Fatalf("every %d, phase %d: not in order: %d", every, phase, ns)
				}
				for _, n := range ns {
					tried[fmt.Sprint(run, n)] = true
				}
				count += len(ns)
			}
			if got := runs.KindsOf(chosen); !slices.Equal(got, kinds) {
				t.Errorf("every %d, phase %d: kinds %q", every, phase, got)
			}
			most = max(most, count)
		}
		if len(tried) != 500 {
			t.Errorf("every %d: %d of 500 operations in all phases", every, len(tried))
		}
		if limit := 500/every + 2*len(kinds); most > limit {
			t.Errorf("every %d: %d operations in a phase, want %d at most", every, most, limit)
		}
	}
}

func TestSampleTriesAllOperationsInAsManyPhasesAsItsDistance(t *testing.T) {
	t.Parallel()
	for _, every := range []int{1, 11, 23, 48, 400} {
		for _, seed := range []uint64{0, 1, 705} {
			tried := make(map[int]bool)
			for phase := range every {
				some := false
				for n := range faulttest.Sample(200, every, seed, 20_000+phase) {
					tried[n], some = true, true
				}
				if !some {
					t.Errorf("every %d, seed %d, phase %d: none", every, seed, phase)
				}
			}
			if len(tried) != 200 {
				t.Errorf("every %d, seed %d: %d of 200 operations in all phases", every, seed, len(tried))
			}
		}
	}
}

// TestOperationOfARunIsFoundInAnotherOne by its kind, although others come before it there.
func TestOperationOfARunIsFoundInAnotherOne(t *testing.T) {
	t.Parallel()
	runs := faulttest.NewRuns([]string{"syncall"}, []string{"sync A/t1", "create A/t2", "sync A/t2", "syncdir A"})
	other := []string{"syncdir A", "sync A/t7", "sync A/x.serial", "syncdir A", "sync A/t9", "sync A/t8"}
	for n, want := range map[int]int{1: 1, 2: -1, 3: 4, 4: 0} {
		at := runs.Nth(1, n)
		if got := slices.IndexFunc(other, at.Is()); got != want {
			t.Errorf("%v: at %d, want %d", at, got, want)
		}
	}
}
