package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// flushBytes of data in the log start a flush, beside the thresholds of
// config/settings: they count files and transactions, whatever their size.
const flushBytes = 64 << 20

// worker is the goroutine that flushes, enters snapshots and recombines.
type worker struct {
	woken chan struct{}
	ended chan struct{}
	slice int // files that the next step of recombining moves
	// sealed is how many transactions of the queue have all their files, durably, and
	// lack only x.serial.
	sealed int

	leaveAt time.Time // when a snapshot that nobody leaves is looked at next
	stays   bool      // it could not be left

	watch watch

	floor sync.Mutex // one RaiseFloor at a time

	// progress is how much of the flush that is under way is done.
	progress struct{ done, total atomic.Int64 }

	// Guarded by Storage.mu:
	trouble trouble  // what keeps the work from being done, and passes
	chore   *chore   // somebody's work on A; nil: there is none
	flushTo zodb.TID // somebody waits until this one is flushed
	pace    pace
	room    room
	crowd   zodb.TID // what is not later is flushed before anything is committed; see crowded
}

func (w *worker) start(s *Storage) {
	w.woken = make(chan struct{}, 1)
	w.ended = make(chan struct{})
	w.slice = s.firstSlice()
	go func() {
		defer close(w.ended)
		w.run(s)
	}()
}

// wake makes the worker look for work. It never blocks.
func (w *worker) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// stop ends the worker and does what a close has to do.
func (w *worker) stop(s *Storage) error {
	w.wake()
	<-w.ended
	return s.shutDown()
}

func (w *worker) raiseFloor(s *Storage) error {
	w.floor.Lock()
	defer w.floor.Unlock()
	return vfs.WithPassing(s.store.RaiseFloor())
}

// job is one step of the worker.
type job uint8

const (
	jobNone job = iota
	jobFlush
	jobEnter
	jobRecombine
	jobChore
	jobStop
)

func (w *worker) run(s *Storage) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	flushed := true // a flush was done since the last slice of recombining
	for {
		s.tellLong()
		next, upTo, wait := w.next(s, flushed)
		var err error
		switch next {
		case jobStop:
			s.mu.Lock()
			err := s.writable()
			w.endChore(err)
			s.mu.Unlock()
			return
		case jobFlush:
			err = s.flush(upTo)
			flushed = true
		case jobEnter:
			s.mu.RLock()
			q := s.snap.entering
			s.mu.RUnlock()
			if q != nil {
				err = s.enterNow(q)
			}
		case jobRecombine:
			err = w.recombine(s)
			flushed = false
		case jobChore:
			w.doChore(s)
			w.noteLost(s)
			flushed = false
			w.leaveInTime(s)
			continue
		case jobNone:
			timer.Reset(wait)
			select {
			case <-w.woken:
			case <-timer.C:
			}
			w.leave(s)
			w.listenAgain(s)
			w.watchSpace(s)
			continue
		}
		w.note(s, err)
		if err != nil {
			w.entryInTrouble(s)
		}
		w.noteLost(s)
		w.leaveInTime(s)
		w.watchSpace(s)
	}
}

// noteLost makes the storage read-only if nothing that is done to A becomes durable any
// more. The error of what found that out may be somebody else's.
func (w *worker) noteLost(s *Storage) {
	if err := s.store.Failure(); err != nil {
		_ = s.fail(err) // logged there, and told to every writer
	}
}

// next decides what to do. upTo is how far a flush may go; wait is how long
// there is nothing to do unless something happens.
func (w *worker) next(s *Storage, flushed bool) (next job, upTo zodb.TID, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.failure != nil {
		return jobStop, 0, 0
	}
	now := s.o.Clock()
	if wait := w.trouble.wait(now); wait > 0 {
		// A pack may be what makes room. Its errors are its own, so it need not wait.
		if w.chore != nil && s.snap.mode == modeNone && !s.snap.recombining {
			return jobChore, 0, 0
		}
		return jobNone, 0, wait
	}
	if q := s.snap.entering; q != nil {
		if !s.unflushed.after(q.upTo) {
			return jobFlush, q.upTo, 0
		}
		return jobEnter, 0, 0
	}
	due, wait := w.flushDue(s, now)
	// While B is moved into A, flushes go to B and so add to what has to be moved.
	// The slices grow, so that it comes to an end under any load.
	if s.snap.recombining && (flushed || !due) {
		return jobRecombine, 0, 0
	}
	if w.chore != nil && s.snap.mode == modeNone && !s.snap.recombining && (flushed || !due) {
		return jobChore, 0, 0
	}
	if due {
		return jobFlush, zodb.MaxTID, 0
	}
	if s.snap.leavesByItself() || s.socketErr != nil {
		wait = min(wait, s.o.RetryInterval)
	}
	wait = min(wait, s.untilLong(now))
	if s.o.watched() {
		wait = min(wait, max(0, w.watch.next.Sub(now)))
	}
	return jobNone, 0, wait
}

// flushDue tells whether it is time to flush, or when it will be.
func (w *worker) flushDue(s *Storage, now time.Time) (due bool, wait time.Duration) {
	const never = time.Hour
	if len(s.unflushed.queue) == 0 {
		return false, never
	}
	j := s.settings.Journal
	first := s.unflushed.queue[0]
	age := now.Sub(first.at)
	due = w.flushTo >= first.TID ||
		len(s.unflushed.queue) >= j.FlushTransactionThreshold ||
		s.unflushed.files >= j.FlushFileThreshold ||
		s.unflushed.bytes >= flushBytes ||
		s.overfull() ||
		s.unflushed.memory >= s.o.LogMemory ||
		age >= j.FlushInterval
	return due, min(never, max(0, j.FlushInterval-age))
}

// maxFirstSlice bounds the first slice of a recombination, because a close does one.
const maxFirstSlice = 2000

// firstSlice is how many files a recombination begins with.
func (s *Storage) firstSlice() int {
	return min(s.settings.Journal.FlushFileThreshold, maxFirstSlice)
}

// recombine moves a slice of B into A.
func (w *worker) recombine(s *Storage) error {
	moved, empty, err := s.store.Recombine(w.slice)
	if err != nil {
		return err
	}
	w.slice = w.slice*7/5 + 1
	if moved == 0 && !empty {
		return fmt.Errorf("the directory B holds more names that are no database names than can be passed over; move them away")
	}
	if !empty {
		return nil
	}
	w.slice = s.firstSlice()
	s.mu.Lock()
	s.snap.recombining = false
	s.snap.side = store.A
	s.signal()
	s.mu.Unlock()
	s.log.Info("merged B into A") // without mu: who reads the log may be slow
	return nil
}

// Flush returns when everything that was committed before is in A, or in B
// while the storage is in snapshot mode, and durable.
func (s *Storage) Flush(ctx context.Context) error {
	s.mu.Lock()
	target := s.last
	s.worker.flushTo = max(s.worker.flushTo, target)
	s.worker.trouble.retryAt = time.Time{} // it may have passed: try at once
	before := s.worker.trouble.tries
	s.mu.Unlock()
	s.worker.wake()
	return s.waitUntil(ctx, func() (bool, error) {
		if s.unflushed.after(target) {
			return true, nil
		}
		if err := s.writable(); err != nil {
			return false, err
		}
		if tr := &s.worker.trouble; tr.cause != nil && tr.tries > before {
			return false, vfs.WithPassing(tr.cause)
		}
		return false, nil
	})
}

// WaitNormal returns when the storage is not in snapshot mode and B is empty.
func (s *Storage) WaitNormal(ctx context.Context) error {
	return s.waitUntil(ctx, func() (bool, error) {
		if s.snap.mode == modeNone && !s.snap.recombining && s.snap.entering == nil {
			return true, nil
		}
		return false, s.writable()
	})
}

// shutDown is the end of a close: the committer and the worker have stopped.
func (s *Storage) shutDown() error {
	s.mu.Lock()
	if q := s.snap.entering; q != nil {
		s.snap.entering = nil
		q.err = ErrClosed
		close(q.done)
	}
	asItIs := s.failure != nil || s.settings.Filesystem.QuickShutdown && !s.o.CleanShutdown || s.snap.mode != modeNone
	recombining := s.snap.recombining
	s.mu.Unlock()
	if asItIs {
		return nil
	}
	if recombining {
		// One slice more, so that a storage with an empty B, which may have been opened
		// a moment ago, is closed cleanly, and the close still takes no longer than that.
		if err := s.worker.recombine(s); err != nil {
			return fmt.Errorf("moving B into A failed; nothing is lost, the next open goes on: %w", err)
		}
		s.mu.RLock()
		recombining = s.snap.recombining
		s.mu.RUnlock()
		if recombining {
			return nil
		}
	}
	for {
		s.mu.RLock()
		left := len(s.unflushed.queue)
		s.mu.RUnlock()
		if left == 0 {
			break
		}
		if err := s.flush(zodb.MaxTID); err != nil {
			return fmt.Errorf("the last flush failed; nothing is lost, the next open does it again: %w", err)
		}
	}
	if err := s.checkHome(); err != nil {
		return err
	}
	s.saveUnsaved()
	if err := s.store.Sync(); err != nil {
		return err
	}
	if err := s.journal.Clean(); err != nil {
		return err
	}
	// A is a snapshot of this moment from now on, also if the clock is set back
	// before the next open.
	moment := s.o.Clock()
	if err := s.worker.raiseFloor(s); err != nil {
		return err
	}
	return snapfile.Write(s.fs, snapfile.Record{Code: snapfile.Shutdown, Moment: moment.UTC(), TID: s.last}, s.syncOptions())
}
