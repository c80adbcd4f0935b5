package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// crashCase is one storage that is crashed in many places.
type crashCase struct {
	class  zodb.Class
	format layout.Format
	seed   uint64
	steps  int
	lanes  int // goroutines of a flush; 0 = one
}

func (c crashCase) String() string {
	return fmt.Sprintf("%s %s seed %d lanes %d", c.class, c.format, c.seed, c.lanes)
}

// begin makes the storage and runs the scenario until the crash at an operation; nil: there is none. made is how
// many operations there were before the scenario.
func (c crashCase) begin(t *testing.T, crash *faulttest.Nth) (sc *scenario, f *crashfs.FS, made int, err error) {
	t.Helper()
	f = crashfs.New(int64(c.seed))
	if err := populateHome(f, c.class, c.format); err != nil {
		t.Fatal(err)
	}
	made = f.Ops()
	if crash != nil {
		f.CrashBefore(crash.Is())
	}
	o := scriptOptions(f)
	if o.lanes = max(1, c.lanes); c.lanes > 0 {
		o.lanesFrom, o.partLen, o.syncEvery = 1, 2, 8
	}
	sc = &scenario{fs: f, o: o, m: &model{}, rnd: rand.New(rand.NewPCG(c.seed, 0))}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = sc.run(ctx, c.steps)
	if ctx.Err() != nil {
		t.Fatalf("%v, crash before %v: hangs", c, crash)
	}
	return sc, f, made, err
}

// The distances of the operations that TestCrashAtEveryOperation tries of one kind.
const sampleWithRace, sampleOfShortRun = 48, 383

func crashCases(seed uint64) []crashCase {
	return []crashCase{
		{zodb.ClassFull, layout.Bundled, seed + 8, 30, 0},
		{zodb.ClassFull, layout.Bushy, seed + 1, 30, 0},
		{zodb.ClassFull, layout.Chunky, seed + 2, 30, 0},
		{zodb.ClassFull, layout.Lawn, seed + 3, 30, 0},
		{zodb.ClassFull, layout.Flat, seed + 4, 30, 0},
		{zodb.ClassMinimal, layout.Bushy, seed + 5, 30, 0},
		{zodb.ClassFull, layout.Chunky, seed + 6, 30, 3},
		{zodb.ClassMinimal, layout.Lawn, seed + 7, 30, 2},
	}
}

// TestCrashAtEveryOperation cuts the power before each operation of commit, flush, snapshot,
// recombination, close and open, and keeps none, all, or a choice of the undurable effects. Then it
// compares the storage with a model: acknowledged transactions are whole; others are whole or
// absent; an acknowledged snapshot is coherent; check finds nothing.
func TestCrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	var cases []crashCase
	for i := range hometest.Rounds(t, 1) {
		cases = append(cases, crashCases(uint64(i)*100)...)
	}
	every := hometest.OneOf(1, sampleWithRace, sampleOfShortRun)
	logs := logsOf(t, cases)
	runs := faulttest.NewRuns(logs...)
	for i, sample := range runs.Sample(every, hometest.Phase(t)) {
		c := cases[i]
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			crashed := 0
			for _, n := range sample {
				if c.crash(t, runs.Nth(i, n), n) {
					crashed++
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("crashed at %d of %d operations; %d of the sample did not come", crashed, len(logs[i]), len(sample)-crashed)
			if len(sample) > 8 && crashed <= len(sample)/4 {
				t.Error("most did not come")
			}
		})
	}
}

// logsOf runs the cases without a crash, and returns their operations.
func logsOf(t *testing.T, cases []crashCase) (logs [][]string) {
	t.Helper()
	for _, c := range cases {
		sc, f, made, err := c.begin(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(sc.m.acked) < c.steps/4 {
			t.Fatalf("%v: only %d transactions of %d steps", c, len(sc.m.acked), c.steps)
		}
		logs = append(logs, f.Log()[made:])
	}
	return logs
}

// TestEachKindOfOperationIsInTheSampleOfCrashes at each phase, in the whole run, with the race detector and
// in a short run. The operations that a storage has to have are named, so that the kinds are those of
// its work.
func TestEachKindOfOperationIsInTheSampleOfCrashes(t *testing.T) {
	t.Parallel()
	runs := faulttest.NewRuns(logsOf(t, crashCases(0))...)
	kinds := runs.Kinds()
	for _, want := range []string{
		"create A/object", "create A/transaction", "create B/object", "create journal/blob-#-#",
		"write journal/log-#", "write A/object", "write misc/current",
		"sync journal/log-#", "sync journal/aside-tree", "syncdir A", "syncdir journal", "syncdir misc", "syncall",
		"rename journal/aside-floor misc/floor", "rename journal/spare-# journal/log-#",
		"link B/object A/object", "link B/transaction A/transaction", "link journal/blob-#-# A/blob",
		"remove journal/log-#", "remove B/object", "remove misc/snapshot", "rename journal/aside-beside B/bundles/.zst",
		"mkdir A/object", "allocate journal/spare-#", "lock misc/lock",
	} {
		if !slices.Contains(kinds, want) {
			t.Errorf("no operation %q; there are\n%s", want, strings.Join(kinds, "\n"))
		}
	}
	for _, every := range []int{1, sampleWithRace, sampleOfShortRun} {
		for phase := range every {
			if got := runs.KindsOf(runs.Sample(every, phase)); !slices.Equal(got, kinds) {
				t.Fatalf("phase %d of %d: the sample has %d kinds of operations of %d", phase, every, len(got), len(kinds))
			}
		}
	}
}

// crash cuts the power before an operation, which was the n-th of the run without a crash. If there is none of that
// kind and number this time, twice, it takes the first of that kind, and reports false if there is none either.
func (c crashCase) crash(t *testing.T, at faulttest.Nth, n int) bool {
	t.Helper()
	sc, f, _, err := c.begin(t, &at)
	if err == nil {
		sc, f, _, err = c.begin(t, &at)
	}
	if err == nil {
		at.N = 1
		sc, f, _, err = c.begin(t, &at)
	}
	if err == nil {
		return false
	}
	if !errors.Is(err, crashfs.ErrCrashed) && !errors.Is(err, zodb.ErrReadOnly) && !errors.Is(err, zodb.ErrClosed) {
		t.Errorf("%v, crash before %v: %v", c, at, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(n))} {
		after := f.Crashed(mode)
		if err := sc.m.clone().verifySnapshot(ctx, after, crashfs.New(0), sc.o); err != nil {
			t.Errorf("%v, crash before %v, %v: %v", c, at, mode, err)
			return true
		}
		// A crash during the recovery, too.
		again := f.Crashed(mode)
		again.CrashAt(1 + n%40)
		o := sc.o
		o.fs = again
		if s, err := Open(ctx, "", o); err == nil {
			err = s.WaitNormal(ctx)
			if err == nil {
				_ = s.Flush(ctx)
			}
			_ = s.Close()
		}
		for _, state := range []struct {
			what string
			fs   *crashfs.FS
		}{{"", after}, {" and again", again.Crashed(mode)}} {
			if err := sc.recovered(ctx, state.fs); err != nil {
				t.Errorf("%v, crash before %v%s, %v: %v", c, at, state.what, mode, err)
				return true
			}
		}
	}
	return true
}
