package faulttest

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
)

// Job is work on one disk, from its beginning to its end. Its state records the promises made so
// far.
type Job struct {
	// Run does the work, or goes on with it: it is called again after it failed, with
	// a file system of the same contents. nil says that all of it is done.
	Run func(f vfs.FS) error
	// Check looks at the disk after a power cut. done: Run had returned nil before.
	Check func(after *crashfs.FS, done bool) error
	// End closes the files and locks that Run has left open; nil: nothing to close.
	End func()
}

func (j *Job) end() {
	if j != nil && j.End != nil {
		j.End()
	}
}

// Options of a suite. The zero value tries each operation.
type Options struct {
	// Every is the distance of the operations that are tried; Seed moves them, and chooses the data
	// that a power cut keeps.
	Every int
	Seed  uint64
	// Phase moves those operations, too, by one for each phase: in Every phases all are tried.
	Phase int
	// Retries is how often Run is called at most after an error of Failed; 0 = 1.
	Retries int
	// Fails chooses the operations that can fail in Failed; nil: all that change
	// or sync something.
	Fails func(op errfs.Op) bool
	// Midway has Failed cut the power in the repetition, too, at an operation by chance.
	Midway bool
}

// Sample yields each every-th of so many operations, from 1 on. The seed moves them, and so does the
// phase: in so many phases as the distance all are tried. There is always one, if there are any
// operations; where there is only one, it is in the midst at seed and phase 0.
func Sample(ops, every int, seed uint64, phase int) iter.Seq[int] {
	every = max(1, min(every, ops))
	return func(yield func(int) bool) {
		for n := 1 + int((seed*11+uint64(every/2)+uint64(phase))%uint64(every)); n <= ops; n += every {
			if !yield(n) {
				return
			}
		}
	}
}

// modes returns how much each power cut at the n-th operation keeps.
func (o Options) modes(n int) []crashfs.Mode {
	r := rand.New(rand.NewPCG(o.Seed, uint64(n)))
	return []crashfs.Mode{crashfs.KeepNone, crashfs.Random(r.Uint32())}
}

// Cut cuts the power before each operation of the work, and after the last. begin makes the files
// that the work needs, durably, on an empty disk. It ends at the first operation with an error. Operations are found
// by their kind and their number among those of it, as [Nth] has them, because runs differ where goroutines work side
// by side. If most of them do not come, that is an error.
func Cut(t testing.TB, o Options, begin func(disk *crashfs.FS) (*Job, error)) {
	t.Helper()
	o.each(t, count(t, o, begin), "power cut before it", func(at Nth, n, _ int) (came bool, err error) { return o.cut(at, n, begin) })
}

// each tries a sample of the operations of a run.
func (o Options) each(t testing.TB, run *Runs, fault string, try func(at Nth, n, ops int) (came bool, err error)) {
	t.Helper()
	ops, tried, came := len(run.kinds[0]), 0, 0
	for n := range Sample(ops, o.Every, o.Seed, o.Phase) {
		at := run.Nth(0, n)
		ok, err := again(at, func(at Nth) (bool, error) { return try(at, n, ops) })
		if err != nil {
			t.Errorf("seed %d, %s at %v, operation %d of %d, %v", o.Seed, fault, at, n, ops, err)
			return
		}
		tried++
		if ok {
			came++
		}
	}
	if came <= tried/4 {
		t.Errorf("seed %d, %s: only %d of %d operations came", o.Seed, fault, came, tried)
	}
}

// again tries an operation twice, and then the first one of its kind, until it comes.
func again(at Nth, try func(at Nth) (bool, error)) (came bool, err error) {
	for _, at := range []Nth{at, at, {at.Kind, 1}} {
		if came, err = try(at); came || err != nil {
			return came, err
		}
	}
	return false, nil
}

// cut cuts the power before an operation; came: there was one. n chooses what is kept.
func (o Options) cut(at Nth, n int, begin func(disk *crashfs.FS) (*Job, error)) (came bool, err error) {
	disk, job, _, err := o.start(begin)
	if err != nil {
		return false, err
	}
	defer job.end()
	cut := CutBefore(disk, at)
	done := job.Run(disk) == nil
	came = cut.Load()
	where := "the first"
	if log := disk.Log(); len(log) > 0 {
		where = fmt.Sprintf("the last was %q", log[len(log)-1])
	}
	for _, mode := range append(o.modes(n), crashfs.KeepAll) {
		if err := job.Check(disk.Crashed(mode), done); err != nil {
			return came, fmt.Errorf("%s, power cut with %v: %w", where, mode, err)
		}
	}
	return came, nil
}

// Killed kills the work before each of its operations, has it gone on with, and
// cuts the power: when the work is done, or before that at an operation by chance.
// begin makes the files that the work needs, durably, on an empty disk. It ends at the first
// operation with an error.
func Killed(t testing.TB, o Options, begin func(disk *crashfs.FS) (*Job, error)) {
	t.Helper()
	o.each(t, count(t, o, begin), "killed before it", func(at Nth, n, ops int) (came bool, err error) {
		for _, midway := range []bool{false, true} {
			if came, err = o.killed(at, n, ops, midway, begin); !came || err != nil {
				break
			}
		}
		return came, err
	})
}

// start makes a disk and its job. Operations count from base+1.
func (o Options) start(begin func(disk *crashfs.FS) (*Job, error)) (disk *crashfs.FS, job *Job, base int, err error) {
	disk = crashfs.New(int64(o.Seed) + 1)
	job, err = begin(disk)
	return disk, job, disk.Ops(), err
}

// count runs the work without a fault, and returns its operations.
func count(t testing.TB, o Options, begin func(disk *crashfs.FS) (*Job, error)) *Runs {
	t.Helper()
	disk, job, base, err := o.start(begin)
	defer job.end()
	if err == nil {
		err = job.Run(disk)
	}
	if err == nil {
		err = job.Check(disk.Crashed(crashfs.KeepNone), true)
	}
	if err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	return NewRuns(disk.Log()[base:])
}

// killed kills the work before an operation; came: there was one.
func (o Options) killed(at Nth, n, ops int, midway bool, begin func(disk *crashfs.FS) (*Job, error)) (came bool, err error) {
	disk, job, _, err := o.start(begin)
	if err != nil {
		return false, err
	}
	defer job.end()
	cut := CutBefore(disk, at)
	err = job.Run(disk)
	if !cut.Load() {
		return false, err // this time it did not come
	}
	if err == nil {
		return true, nil // nobody needed it
	}
	where := "the first"
	if log := disk.Log(); len(log) > 0 {
		where = fmt.Sprintf("the last was %q", log[len(log)-1])
	}
	next := disk.Killed()
	if midway {
		later := 1 + rand.New(rand.NewPCG(o.Seed, uint64(n))).IntN(ops)
		where += fmt.Sprintf(", power cut before operation %d after that", later)
		next.CrashAt(later)
	}
	err = job.Run(next)
	if err != nil && !midway {
		return true, fmt.Errorf("%s: going on: %w", where, err)
	}
	for _, mode := range o.modes(n) {
		if cerr := job.Check(next.Crashed(mode), err == nil); cerr != nil {
			return true, fmt.Errorf("%s, power cut with %v: %w", where, mode, cerr)
		}
	}
	return true, nil
}

// Failed lets each operation of the work fail once, repeats the work until it is
// done, and cuts the power. Operations are found as those of [Cut] are.
func Failed(t testing.TB, o Options, cause error, begin func(disk *crashfs.FS) (*Job, error)) {
	t.Helper()
	if o.Fails == nil {
		o.Fails = errfs.Op.Changes
	}
	var kinds []string
	if _, err := o.failed(0, 0, func(kind string) error {
		kinds = append(kinds, kind)
		return nil
	}, begin); err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	o.each(t, RunOf(kinds), fmt.Sprintf("%v", cause), func(at Nth, n, ops int) (came bool, err error) {
		cuts := []int{0}
		if o.Midway {
			cuts = append(cuts, 1+rand.New(rand.NewPCG(o.Seed, uint64(n))).IntN(ops))
		}
		for _, cut := range cuts {
			nth := at.Counter()
			came, err = o.failed(n, cut, func(kind string) error {
				if nth(kind) {
					return cause
				}
				return nil
			}, begin)
			if !came || err != nil {
				break
			}
		}
		return came, err
	})
}

// failed asks for an error of each operation that can fail, by its kind, and if cut is not 0 cuts the power before
// so many operations of the first repetition. came: an operation failed. n chooses what is kept.
func (o Options) failed(n, cut int, fails func(kind string) error, begin func(disk *crashfs.FS) (*Job, error)) (came bool, err error) {
	disk, job, _, err := o.start(begin)
	if err != nil {
		return false, err
	}
	defer job.end()
	var where atomic.Value
	f := errfs.New(disk, func(op errfs.Op) error {
		if !o.Fails(op) {
			return nil
		}
		err := fails(FailingKind(op))
		if err != nil {
			where.Store(op.Kind + " " + op.Name)
		}
		return err
	})
	var errs []error
	for range 1 + max(1, o.Retries) {
		if err = job.Run(f); err == nil {
			break
		}
		errs = append(errs, err)
		if cut > 0 && len(errs) == 1 {
			disk.CrashAt(disk.Ops() + cut)
		}
	}
	f.Decide(nil) // its end is not part of the work
	came = where.Load() != nil
	if err != nil && cut == 0 {
		return came, fmt.Errorf("%v: it does not go on: %w", where.Load(), errors.Join(errs...))
	}
	done := err == nil
	for _, mode := range o.modes(n) {
		if err := job.Check(disk.Crashed(mode), done); err != nil {
			return came, fmt.Errorf("%v: repeated after %v, power cut with %v: %w", where.Load(), errs, mode, err)
		}
	}
	return came, nil
}
