package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	every  int // crash at each of these operations
	lanes  int // goroutines of a flush; 0 = one
}

func (c crashCase) String() string {
	return fmt.Sprintf("%s %s seed %d lanes %d", c.class, c.format, c.seed, c.lanes)
}

// begin makes the storage and runs the scenario until the crash at an operation,
// counted from when the HOME is there; 0 = there is none.
func (c crashCase) begin(t *testing.T, crashAt int) (*scenario, *crashfs.FS, error) {
	t.Helper()
	f := crashfs.New(int64(c.seed))
	if err := populateHome(f, c.class, c.format); err != nil {
		t.Fatal(err)
	}
	made := f.Ops()
	if crashAt > 0 {
		f.CrashAt(made + crashAt)
	}
	o := scriptOptions(f)
	if o.lanes = max(1, c.lanes); c.lanes > 0 {
		o.lanesFrom, o.partLen, o.syncEvery = 1, 2, 8
	}
	sc := &scenario{fs: f, o: o, m: &model{}, rnd: rand.New(rand.NewPCG(c.seed, 0))}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := sc.run(ctx, c.steps)
	if ctx.Err() != nil {
		t.Fatalf("%v, crash at %d: hangs", c, crashAt)
	}
	return sc, f, err
}

// TestCrashAtEveryOperation cuts the power before each operation of commit, flush, snapshot,
// recombination, close and open, and keeps none, all, or a choice of the undurable effects. Then it
// compares the storage with a model: acknowledged transactions are whole; others are whole or
// absent; an acknowledged snapshot is coherent; check finds nothing.
func TestCrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	var cases []crashCase
	every := hometest.OneOf(1, 48, 383)
	for i := range hometest.Rounds(t, 1) {
		seed := uint64(i) * 100
		cases = append(cases,
			crashCase{zodb.ClassFull, layout.Bundled, seed + 8, 30, every, 0},
			crashCase{zodb.ClassFull, layout.Bushy, seed + 1, 30, every, 0},
			crashCase{zodb.ClassFull, layout.Chunky, seed + 2, 30, every, 0},
			crashCase{zodb.ClassFull, layout.Lawn, seed + 3, 30, every, 0},
			crashCase{zodb.ClassFull, layout.Flat, seed + 4, 30, every, 0},
			crashCase{zodb.ClassMinimal, layout.Bushy, seed + 5, 30, every, 0},
			crashCase{zodb.ClassFull, layout.Chunky, seed + 6, 30, every, 3},
			crashCase{zodb.ClassMinimal, layout.Lawn, seed + 7, 30, every, 2},
		)
	}
	for _, c := range cases {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			sc, f, err := c.begin(t, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(sc.m.acked) < c.steps/4 {
				t.Fatalf("only %d transactions of %d steps", len(sc.m.acked), c.steps)
			}
			ops := f.Ops()
			for n := range faulttest.Sample(ops, c.every, c.seed) { // other ones with each seed
				c.crash(t, n)
				if t.Failed() {
					return
				}
			}
			t.Logf("crashed at each %d. of %d operations", c.every, ops)
		})
	}
}

func (c crashCase) crash(t *testing.T, n int) {
	t.Helper()
	sc, f, err := c.begin(t, n)
	if err == nil {
		return // this time it took fewer operations
	}
	if !errors.Is(err, crashfs.ErrCrashed) && !errors.Is(err, zodb.ErrReadOnly) && !errors.Is(err, zodb.ErrClosed) {
		t.Errorf("%v, crash at %d: %v", c, n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(n))} {
		after := f.Crashed(mode)
		if err := sc.m.clone().verifySnapshot(ctx, after, crashfs.New(0), sc.o); err != nil {
			t.Errorf("%v, crash at %d, %v: %v", c, n, mode, err)
			return
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
				t.Errorf("%v, crash at %d%s, %v: %v", c, n, state.what, mode, err)
				return
			}
		}
	}
}
