package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Three kinds of errors of the file system meet here:
//
//   - What passes ([vfs.Passes]) is tried again, at longer and longer intervals, or
//     told to the client whose transaction it concerns. Nothing becomes read-only.
//   - What is no part of the database (misc/counts, misc/backed-up, sockets, caches,
//     the index of references) never keeps anything from being done. It is logged.
//   - All else leaves the log, or a file that was acknowledged, in a state that nobody
//     knows: [Storage.fail].

// trouble is what keeps the worker from its work, and passes. Storage.mu guards it.
type trouble struct {
	cause   error // nil: there is none
	tries   int   // that failed since the open
	inRow   int   // that failed since one that did not
	retryAt time.Time
}

// TroubleKind is what is lacking.
type TroubleKind string

// The kinds of trouble.
const (
	TroubleDisk   TroubleKind = "disk_full"
	TroubleScarce TroubleKind = "scarce" // descriptors or memory
)

func troubleKind(err error) TroubleKind {
	if vfs.FaultOf(err) == vfs.ScarceFault {
		return TroubleScarce
	}
	return TroubleDisk
}

// maxBackOff bounds how much longer than Options.RetryInterval the pauses become.
const maxBackOff = 16

// backOff is the pause after so many tries that failed in a row, from 1.
func backOff(interval time.Duration, inRow int) time.Duration {
	return interval * time.Duration(min(maxBackOff, 1<<min(inRow-1, 10)))
}

// wait is how long nothing is tried.
func (t *trouble) wait(now time.Time) time.Duration {
	if t.cause == nil {
		return 0
	}
	return max(0, t.retryAt.Sub(now))
}

// note keeps or clears the trouble that a step had, or makes the storage read-only.
// It is in the log once when it comes, once when another kind takes its place, and
// once when it has passed.
func (w *worker) note(s *Storage, err error) {
	if err != nil && !vfs.Passes(err) {
		// If HOME was changed from outside, that is the cause.
		_ = s.fail(errors.Join(s.checkHome(), err)) // logged there, and told to every writer
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &w.trouble
	if err == nil {
		w.passed(s)
		return
	}
	s.passing.Add(1)
	if t.cause == nil || troubleKind(t.cause) != troubleKind(err) {
		if troubleKind(err) == TroubleDisk {
			s.mu.say(slog.LevelWarn, "disk full: committed transactions stay in the journal", "err", err)
		} else {
			s.mu.say(slog.LevelWarn, "out of descriptors or memory: committed transactions stay in the journal", "err", err)
		}
	}
	t.cause = err
	t.tries++
	t.inRow++
	t.retryAt = s.o.Clock().Add(backOff(s.o.RetryInterval, t.inRow))
	s.signal()
}

// triesOfAnEntry is how often in a row the flush before a snapshot fails for want of
// something before whoever asked for the snapshot is told.
const triesOfAnEntry = 4

// entryInTrouble is about a snapshot that waits for a flush that has just failed. First
// the reserve is given up for it, and then it is refused, because nobody may be there who
// makes room.
func (w *worker) entryInTrouble(s *Storage) {
	s.mu.RLock()
	q, full := s.snap.entering, w.trouble.cause != nil && troubleKind(w.trouble.cause) == TroubleDisk
	s.mu.RUnlock()
	if q == nil {
		return
	}
	given := full && giveUpReserve(s.fs)
	if given {
		s.log.Warn("disk full: the reserve is given up for a snapshot; commits are refused until there is room", "path", reserveFile)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &w.trouble
	if given {
		w.watch.refuse = s.o.Reserve > 0
		t.inRow, t.retryAt = 0, time.Time{}
		return
	}
	if t.cause == nil || t.inRow < triesOfAnEntry || s.snap.entering != q || q.begun {
		return
	}
	s.snap.entering = nil
	q.err = fmt.Errorf("enter snapshot mode: transactions wait to be flushed: %w", vfs.WithPassing(t.cause))
	close(q.done)
	s.signal()
}

// listen makes the socket by which tools reach the storage. It is no part of the
// database: without it everything goes on, and the worker tries again.
func (s *Storage) listen() {
	server, err := control.Serve(s.fs, s, s.log)
	s.mu.Lock()
	first := s.socketErr == nil
	s.socketErr = err
	late := s.closed && err == nil
	if err == nil && !late { // Close looks at it without a lock
		s.control = server
	}
	s.mu.Unlock()
	if late {
		err = server.Close()
	}
	if err != nil && first {
		s.log.Warn("no control socket: tools cannot reach this process until there is one", "err", err)
	}
}

// listenAgain tries once more, if there is no socket and should be one.
func (w *worker) listenAgain(s *Storage) {
	s.mu.RLock()
	again := s.socketErr != nil && !s.closed
	s.mu.RUnlock()
	if again {
		s.listen()
	}
}

// passed ends the trouble, if there is any. Storage.mu must be held.
func (w *worker) passed(s *Storage) {
	t := &w.trouble
	if t.cause != nil {
		s.mu.say(slog.LevelInfo, "the trouble has passed", "tries", t.inRow)
		t.cause, t.inRow = nil, 0
		s.signal()
	}
}

// refused counts an error that passes and that a client is told, and makes it match
// ErrDiskFull or ErrScarce.
func (s *Storage) refused(err error) error {
	if vfs.Passes(err) {
		s.passing.Add(1)
	}
	return vfs.WithPassing(err)
}

// leaveInTime leaves a snapshot that nobody will leave from outside also while there
// is work all the time.
func (w *worker) leaveInTime(s *Storage) {
	if s.leavesByItself() && !s.o.Clock().Before(w.leaveAt) {
		w.leave(s)
	}
}

// leave tries to leave a snapshot that nobody will leave from outside. What keeps it
// from that is in the log once.
func (w *worker) leave(s *Storage) {
	w.leaveAt = s.o.Clock().Add(s.o.RetryInterval)
	_, err := s.leaveIfFree()
	if err != nil && !w.stays {
		s.log.Warn("cannot leave snapshot mode yet", "err", err)
	}
	w.stays = err != nil
}
