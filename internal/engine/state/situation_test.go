package state

import (
	"fmt"
	"testing"
)

// situations yields every combination.
func situations(yield func(v situation) bool) {
	fields := func(v *situation) []*bool {
		return []*bool{&v.LeaveDue, &v.Ended, &v.Troubled, &v.InMode, &v.Merging, &v.Entering, &v.Complete, &v.HasTask, &v.FlushDue, &v.Flushed}
	}
	n := len(fields(&situation{}))
	for bits := range 1 << n {
		var v situation
		for i, f := range fields(&v) {
			*f = bits>>i&1 == 1
		}
		if !yield(v) {
			return
		}
	}
}

// TestEverySituationHasItsJob says for each job when it has to run, and compares that with
// the table, in all situations.
func TestEverySituationHasItsJob(t *testing.T) {
	t.Parallel()
	const no, yes, any = 0, 1, 2
	type row struct {
		job                                                                                               Job
		leaveDue, ended, troubled, inMode, merging, entering, complete, hasTask, flushDue, flushed, times int
	}
	// Each situation fits exactly one row.
	rows := []row{
		{JobLeave, yes, any, any, any, any, any, any, any, any, any, 512},
		{JobStop, no, yes, any, any, any, any, any, any, any, any, 256},
		// In trouble nothing runs but a task, and that only on an A that is free.
		{JobTask, no, no, yes, no, no, any, any, yes, any, any, 16},
		{JobNone, no, no, yes, any, any, any, any, no, any, any, 64},
		{JobNone, no, no, yes, yes, any, any, any, yes, any, any, 32},
		{JobNone, no, no, yes, no, yes, any, any, yes, any, any, 16},
		// A snapshot that is asked for comes before everything else.
		{JobFlush, no, no, no, any, any, yes, no, any, any, any, 32},
		{JobEnter, no, no, no, any, any, yes, yes, any, any, any, 32},
		// While B is merged into A no task runs; merges and flushes alternate.
		{JobMerge, no, no, no, any, yes, no, any, any, no, any, 16},
		{JobMerge, no, no, no, any, yes, no, any, any, yes, yes, 8},
		{JobFlush, no, no, no, any, yes, no, any, any, yes, no, 8},
		// In a mode no task runs.
		{JobFlush, no, no, no, yes, no, no, any, any, yes, any, 8},
		{JobNone, no, no, no, yes, no, no, any, any, no, any, 8},
		// A free A: tasks and flushes alternate.
		{JobTask, no, no, no, no, no, no, any, yes, no, any, 4},
		{JobTask, no, no, no, no, no, no, any, yes, yes, yes, 2},
		{JobFlush, no, no, no, no, no, no, any, yes, yes, no, 2},
		{JobFlush, no, no, no, no, no, no, any, no, yes, any, 4},
		{JobNone, no, no, no, no, no, no, any, no, no, any, 4},
	}
	fits := func(want int, is bool) bool { return want == any || (want == yes) == is }
	times := make([]int, len(rows))
	for v := range situations {
		hit := -1
		for i, r := range rows {
			if !fits(r.leaveDue, v.LeaveDue) || !fits(r.ended, v.Ended) || !fits(r.troubled, v.Troubled) || !fits(r.inMode, v.InMode) ||
				!fits(r.merging, v.Merging) || !fits(r.entering, v.Entering) || !fits(r.complete, v.Complete) ||
				!fits(r.hasTask, v.HasTask) || !fits(r.flushDue, v.FlushDue) || !fits(r.flushed, v.Flushed) {
				continue
			}
			if hit >= 0 {
				t.Fatalf("%+v fits rows %d and %d", v, hit, i)
			}
			hit = i
			times[i]++
		}
		if hit < 0 {
			t.Fatalf("%+v fits no row", v)
		}
		if got := v.Job(); got != rows[hit].job {
			t.Errorf("%+v: job %d, want %d", v, got, rows[hit].job)
		}
	}
	for i, r := range rows {
		if times[i] != r.times {
			t.Errorf("row %d fits %d situations, want %d", i, times[i], r.times)
		}
	}
}

// TestNobodyStarves: in every situation, alternating jobs get their turns.
func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	for v := range situations {
		if v.LeaveDue || v.Ended || v.Troubled || v.Entering || !v.FlushDue || !v.Merging && (!v.HasTask || v.InMode) {
			continue
		}
		jobs := make(map[Job]int)
		for range 10 {
			j := v.Job()
			jobs[j]++
			v.Flushed = j == JobFlush
		}
		other := JobTask
		if v.Merging {
			other = JobMerge
		}
		if jobs[JobFlush] != 5 || jobs[other] != 5 {
			t.Errorf("%+v: %v", v, fmt.Sprint(jobs))
		}
	}
}
