package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// worker is the goroutine that flushes, enters and leaves snapshots, merges B into A, and does
// the steps of packs. What is next is a table: see [state.Situation].
type worker struct {
	ended chan struct{}
	slice int // files that the next step of merging B into A moves
	// sealed is how many transactions of the queue have all their files, durably, and
	// lack only x.serial.
	sealed int

	leaveAt time.Time // when a snapshot that nobody leaves is looked at next
	stays   bool      // it could not be left

	floor sync.Mutex // one RaiseFloor at a time
}

func (w *worker) start(s *Storage) {
	w.ended = make(chan struct{})
	w.slice = s.firstSlice()
	w.leaveAt = s.o.Clock().Add(s.o.RetryInterval) // the open has just looked
	go func() {
		defer close(w.ended)
		w.run(s)
	}()
}

// stop ends the worker and does what a close has to do.
func (w *worker) stop(s *Storage) error {
	s.state.Wake()
	<-w.ended
	return s.shutDown()
}

func (w *worker) raiseFloor(s *Storage) error {
	w.floor.Lock()
	defer w.floor.Unlock()
	return vfs.WithPassing(s.store.RaiseFloor())
}

func (w *worker) run(s *Storage) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	flushed := true // see [state.Situation]
	woken := false  // it has just waited
	looked := false // it has just looked whether it can leave snapshot mode: everything else comes first
	for {
		s.tellLong()
		next := s.state.Decide(flushed, !looked && (woken || !s.o.Clock().Before(w.leaveAt)))
		woken, looked = false, next.Job == state.JobLeave
		var err error
		switch next.Job {
		case state.JobStop:
			s.state.EndTask()
			return
		case state.JobLeave:
			w.leave(s)
			continue
		case state.JobFlush:
			err = s.flush(next.UpTo)
			flushed = true
		case state.JobEnter:
			err = s.enterNow(next.Entry)
		case state.JobMerge:
			err = w.merge(s)
			flushed = false
		case state.JobTask:
			s.doStep()
			w.noteLost(s)
			flushed = false
			continue
		case state.JobNone:
			timer.Reset(s.space.Wait(next.Wait))
			select {
			case <-s.state.Woken():
			case <-timer.C:
			}
			woken = true
			w.listenAgain(s)
			s.space.Look()
			continue
		}
		w.note(s, err)
		if err != nil {
			w.entryInTrouble(s)
		}
		w.noteLost(s)
		s.space.Look()
	}
}

// noteLost makes the storage read-only if nothing that is done to A becomes durable any
// more. The error of what found that out may be somebody else's.
func (w *worker) noteLost(s *Storage) {
	if err := s.store.Failure(); err != nil {
		_ = s.state.Fail(err) // logged there, and told to every writer
	}
}

// maxFirstSlice bounds the first slice of a merge of B into A, because a close does one.
const maxFirstSlice = 2000

// firstSlice is how many files a merge of B into A begins with.
func (s *Storage) firstSlice() int {
	return min(s.home.Settings.Journal.FlushFileThreshold, maxFirstSlice)
}

// merge moves a slice of B into A.
func (w *worker) merge(s *Storage) error {
	if err := s.home.Check(); err != nil {
		return err
	}
	moved, empty, err := s.store.Thaw(w.slice)
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
	s.state.Merged()
	s.log.Info("merged B into A")
	return nil
}

// Flush returns when everything that was committed before is in A, or in B
// while the storage is in snapshot mode, and durable.
func (s *Storage) Flush(ctx context.Context) error { return s.state.WaitFlushed(ctx) }

// WaitNormal returns when the storage is not in snapshot mode and B is empty.
func (s *Storage) WaitNormal(ctx context.Context) error { return s.state.WaitNormal(ctx) }

// shutDown is the end of a close: the committer and the worker have stopped.
func (s *Storage) shutDown() error {
	asItIs := s.state.ShutDown() || s.state.Failure() != nil || s.home.Settings.Filesystem.QuickShutdown && !s.o.CleanShutdown
	if asItIs {
		return nil
	}
	if s.state.IsMerging() {
		// One slice more, so that a storage with an empty B, which may have been opened
		// a moment ago, is closed cleanly, and the close still takes no longer than that.
		if err := s.worker.merge(s); err != nil {
			return fmt.Errorf("moving B into A failed; nothing is lost, the next open goes on: %w", err)
		}
		if s.state.IsMerging() {
			return nil
		}
	}
	for len(s.state.Unflushed()) > 0 {
		if err := s.flush(zodb.MaxTID); err != nil {
			return fmt.Errorf("the last flush failed; nothing is lost, the next open does it again: %w", err)
		}
	}
	if err := s.home.Check(); err != nil {
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
	return snapfile.Write(s.home.FS, snapfile.Record{Code: snapfile.Shutdown, Moment: moment.UTC(), TID: s.state.LastTID()}, s.home.Sync())
}

// doStep does one step of a task. Its errors are those of the task, not of the storage.
func (s *Storage) doStep() {
	t := s.state.BeginStep()
	if t == nil {
		return
	}
	done, err := false, s.home.Check()
	if err == nil {
		done, err = t.Step()
	}
	s.state.EndStep(t, done, err)
}
