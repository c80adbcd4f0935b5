package state

import (
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// Job is one step of the worker.
type Job uint8

// The jobs.
const (
	JobNone  Job = iota // wait until something happens
	JobStop             // the worker ends
	JobLeave            // leave a snapshot mode that nobody else leaves, if misc/sublock is free
	JobFlush            // flush a batch
	JobEnter            // enter snapshot mode
	JobMerge            // merge a slice of B into A
	JobTask             // one step of somebody's work on A
)

// situation is everything that determines the next job of the worker.
type situation struct {
	LeaveDue bool // the mode ends as soon as misc/sublock is free, it is time to look, and nothing failed
	Ended    bool // Close was called, or the storage has become read-only
	Troubled bool // something failed that passes, and it is not time yet to try again
	InMode   bool // in a snapshot mode: A stands still
	Merging  bool // B may hold files that have to go to A
	Entering bool // a snapshot is asked for
	Complete bool // all that it is to hold is flushed
	HasTask  bool // somebody has work on A
	FlushDue bool // it is time to flush
	Flushed  bool // the last job that could be put off was put off for a flush: it is its turn
}

// Job is the table: which job is next in a situation. The first row that fits counts.
//
//	situation                                   job    why
//	LeaveDue                                    Leave  A may change again
//	Ended                                       Stop
//	Troubled, HasTask, A is free                Task   a pack may make room; its errors are its own
//	Troubled                                    None
//	Entering, not Complete                      Flush  up to the last transaction that it is to hold
//	Entering                                    Enter
//	Merging, Flushed or not FlushDue            Merge  flushes go to B meanwhile and add to it, so they alternate
//	HasTask, A is free, Flushed or not FlushDue Task   alternating with flushes too
//	FlushDue                                    Flush
//	else                                        None
//
// A is free if the storage is in no mode and nothing is merged.
func (v situation) Job() Job {
	free, turn := !v.InMode && !v.Merging, v.Flushed || !v.FlushDue
	switch {
	case v.LeaveDue:
		return JobLeave
	case v.Ended:
		return JobStop
	case v.Troubled && v.HasTask && free:
		return JobTask
	case v.Troubled:
		return JobNone
	case v.Entering && !v.Complete:
		return JobFlush
	case v.Entering:
		return JobEnter
	case v.Merging && turn:
		return JobMerge
	case v.HasTask && free && turn:
		return JobTask
	case v.FlushDue:
		return JobFlush
	}
	return JobNone
}

// Decision is the next step of the worker.
type Decision struct {
	Job   Job
	UpTo  zodb.TID      // of JobFlush
	Entry *Entry        // of JobEnter
	Wait  time.Duration // of JobNone: until then, if nobody wakes it
}

// Decide returns the next step of the worker. flushed is that of a situation. leave says that
// it is time to look whether a mode that ends by itself can be left.
func (s *State) Decide(flushed, leave bool) Decision {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.o.Clock()
	due, wait := s.flushDue(now)
	retry := s.trouble.wait(now)
	q := s.snap.entering
	d := Decision{UpTo: zodb.MaxTID, Entry: q}
	d.Job = situation{
		LeaveDue: leave && s.failure == nil && s.snap.leavesByItself(), // a failed storage changes no file
		Ended:    s.closed || s.failure != nil,
		Troubled: retry > 0,
		InMode:   s.snap.mode != ModeNone,
		Merging:  s.snap.merging,
		Entering: q != nil,
		Complete: q != nil && s.index.after(q.upTo),
		HasTask:  s.task != nil,
		FlushDue: due,
		Flushed:  flushed,
	}.Job()
	if q != nil {
		d.UpTo = q.upTo
	}
	if retry > 0 {
		d.Wait = retry
		return d
	}
	if s.snap.leavesByItself() || s.socketErr != nil {
		wait = min(wait, s.o.RetryInterval)
	}
	d.Wait = min(wait, s.untilLong(now))
	return d
}

// flushDue tells whether it is time to flush, or when it will be. mu must be held.
func (s *State) flushDue(now time.Time) (due bool, wait time.Duration) {
	const never = time.Hour
	if len(s.index.queue) == 0 {
		return false, never
	}
	j := s.o.Journal
	first := s.index.queue[0]
	age := now.Sub(first.At)
	due = s.flushTo >= first.TID ||
		len(s.index.queue) >= j.FlushTransactionThreshold ||
		s.index.files >= j.FlushFileThreshold ||
		s.index.bytes >= flushBytes ||
		s.overfull() ||
		s.index.memory >= s.o.LogMemory ||
		age >= j.FlushInterval
	return due, min(never, max(0, j.FlushInterval-age))
}
