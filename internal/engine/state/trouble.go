package state

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// trouble is an obstacle to the work of the worker that passes.
type trouble struct {
	cause   error // nil: there is none
	tries   int   // that failed since the open
	inRow   int   // that failed since one that did not
	retryAt time.Time
}

func troubleKind(err error) zodb.TroubleKind {
	if vfs.FaultOf(err) == vfs.ScarceFault {
		return zodb.TroubleScarce
	}
	return zodb.TroubleDisk
}

// NotePassing counts an error that passes.
func (s *State) NotePassing() { s.passing.Add(1) }

// Refused counts an error that passes and that a client is told, and makes it match
// zodb.ErrDiskFull or zodb.ErrScarce. It returns other errors as they are.
func (s *State) Refused(err error) error {
	if vfs.Passes(err) {
		s.NotePassing()
	}
	return vfs.WithPassing(err)
}

// maxBackOff bounds how much longer than Options.RetryInterval the pauses become.
const maxBackOff = 16

// BackOff is the pause after a number of tries that failed in a row, from 1.
func BackOff(interval time.Duration, inRow int) time.Duration {
	return interval * time.Duration(min(maxBackOff, 1<<min(inRow-1, 10)))
}

// wait is how long nothing is tried.
func (t *trouble) wait(now time.Time) time.Duration {
	if t.cause == nil {
		return 0
	}
	return max(0, t.retryAt.Sub(now))
}

// LogFailed keeps the error of a transaction that a full disk kept out of the log, until [State.LogWorks]. The
// log has it once. What waits is flushed, since that gives room of the log back.
func (s *State) LogFailed(err error) {
	if !vfs.SaysFull(err) {
		return
	}
	defer s.Wake()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logFull == nil {
		s.mu.Say(slog.LevelWarn, "disk full: transactions are refused, since the log gets no room", "err", err)
	}
	s.logFull, s.logFullFree = err, s.room.free.Bytes
	s.hasLogFull.Store(true)
	s.flushTo = s.last
}

// moreForLog is how much more room than at a failure of the log ends the state after it, although nobody commits.
const moreForLog = 1 << 20

// LogWorks ends the state after [State.LogFailed].
func (s *State) LogWorks() {
	if !s.hasLogFull.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logWorks()
}

// logWorks is LogWorks for callers that hold mu.
func (s *State) logWorks() {
	if s.logFull != nil {
		s.mu.Say(slog.LevelInfo, "the log has room again")
	}
	s.logFull = nil
	s.hasLogFull.Store(false)
}

// StepFailed keeps the error, which passes, of a step of the worker: it is in trouble until
// a step succeeds, and tries again later and later. The log has it once when it comes, and
// once when another kind takes its place.
func (s *State) StepFailed(err error) {
	s.NotePassing()
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.trouble
	if t.cause == nil || troubleKind(t.cause) != troubleKind(err) {
		if troubleKind(err) == zodb.TroubleDisk {
			s.mu.Say(slog.LevelWarn, "disk full: committed transactions stay in the journal", "err", err)
		} else {
			s.mu.Say(slog.LevelWarn, "out of descriptors or memory: committed transactions stay in the journal", "err", err)
		}
	}
	t.cause = err
	t.tries++
	t.inRow++
	t.retryAt = s.o.Clock().Add(BackOff(s.o.RetryInterval, t.inRow))
	s.signal()
}

// StepSucceeded ends the trouble, if there is any, and says so in the log.
func (s *State) StepSucceeded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed()
}

// passed is StepSucceeded for callers that hold mu.
func (s *State) passed() {
	t := &s.trouble
	if t.cause != nil {
		s.mu.Say(slog.LevelInfo, "the trouble has passed", "tries", t.inRow)
		t.cause, t.inRow = nil, 0
		s.signal()
	}
}

// EntryInTrouble returns the snapshot that is asked for, if there is one, and whether a full
// disk keeps the flush before it from being done.
func (s *State) EntryInTrouble() (q *Entry, full bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.snap.entering, s.trouble.cause != nil && troubleKind(s.trouble.cause) == zodb.TroubleDisk
}

// ReserveGivenUp has commits refused until there is a reserve again, and the worker try again
// at once.
func (s *State) ReserveGivenUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = s.o.HasReserve
	s.trouble.inRow, s.trouble.retryAt = 0, time.Time{}
}

// triesOfAnEntry is how often in a row the flush before a snapshot fails for want of
// something before the one that asked for the snapshot is told.
const triesOfAnEntry = 4

// RefuseEntry refuses a snapshot that is asked for, and not begun, if its preparation has
// failed too often.
func (s *State) RefuseEntry(q *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.trouble
	if t.cause == nil || t.inRow < triesOfAnEntry || s.snap.entering != q || q.begun {
		return
	}
	s.snap.entering = nil
	q.end(fmt.Errorf("enter snapshot mode: transactions wait to be flushed: %w", vfs.WithPassing(t.cause)))
	s.signal()
}
