package faulttest

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
)

// Sampled ends work before a sample of its operations: of each kind each every-th, and one at least, moved by the
// phase; in every phases all are tried. run does the work on a new disk with the end before an operation, as
// [CutBefore] has it, and looks at the result. The zero Nth asks for no end; that is the first call, which finds the operations.
// n is the number of the operation in that first call, for choices by chance. run returns the operations of the work in the form
// of crashfs, and came: the work was ended. Where an operation does not come, it is tried again as by [Cut], and if most of them do
// not, that is an error. Sampled ends with the first failure of the test. It returns the number of operations without an end.
func Sampled(t testing.TB, every, phase int, run func(at Nth, n int) (log []string, came bool)) (ops int) {
	t.Helper()
	log := whole(t, run)
	if t.Failed() {
		return 0
	}
	runs := NewRuns(log)
	sampled(t, runs, 0, runs.Sample(every, phase)[0], run)
	return len(log)
}

// SampledOf is [Sampled] for cases that share the sample: of each kind there is one operation at least in
// one of them. They are subtests with the names, side by side. c is the index of the case. It returns the number of
// operations of all.
func SampledOf(t *testing.T, every, phase int, names []string, run func(t *testing.T, c int, at Nth, n int) (log []string, came bool)) (ops int) {
	t.Helper()
	logs := make([][]string, len(names))
	for c := range logs {
		logs[c] = whole(t, func(at Nth, n int) ([]string, bool) { return run(t, c, at, n) })
		if t.Failed() {
			return 0
		}
		ops += len(logs[c])
	}
	runs := NewRuns(logs...)
	for c, chosen := range runs.Sample(every, phase) {
		t.Run(names[c], func(t *testing.T) {
			t.Parallel()
			sampled(t, runs, c, chosen, func(at Nth, n int) ([]string, bool) { return run(t, c, at, n) })
		})
	}
	return ops
}

// whole does the work without an end, and returns its operations.
func whole(t testing.TB, run func(at Nth, n int) (log []string, came bool)) []string {
	t.Helper()
	log, came := run(Nth{}, 0)
	if came {
		t.Error("the work was ended, and nobody asked for that")
	}
	return log
}

func sampled(t testing.TB, runs *Runs, c int, chosen []int, run func(at Nth, n int) (log []string, came bool)) {
	t.Helper()
	ended := 0
	for _, n := range chosen {
		came, _ := again(runs.Nth(c, n), func(at Nth) (bool, error) {
			_, came := run(at, n)
			return came || t.Failed(), nil
		})
		if t.Failed() {
			return
		}
		if came {
			ended++
		}
	}
	if tried := len(chosen); tried > 0 && ended <= tried/4 {
		t.Errorf("only %d of %d operations came", ended, tried)
	}
}

// CutBefore lets the power be cut before an operation, none if it is the zero Nth, and says whether it was.
func CutBefore(disk *crashfs.FS, at Nth) *atomic.Bool {
	came := new(atomic.Bool)
	if at.N == 0 {
		return came
	}
	is := at.Is()
	disk.CrashBefore(func(op string) bool {
		if is(op) {
			came.Store(true)
		}
		return came.Load()
	})
	return came
}

// ErrorAt lets an operation that changes or syncs something fail, none if it is the zero Nth. The function that it
// returns tells the kinds of such operations since, and whether the one that fails was among them.
func ErrorAt(f *errfs.FS, at Nth, cause error) func() (kinds []string, came bool) {
	var mu sync.Mutex
	var kinds []string
	is, came := at.Counter(), false
	f.Decide(func(op errfs.Op) error {
		if !op.Changes() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		kind := FailingKind(op)
		kinds = append(kinds, kind)
		if !is(kind) {
			return nil
		}
		came = true
		return cause
	})
	return func() ([]string, bool) {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(kinds), came
	}
}
