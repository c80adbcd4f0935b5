package flush

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/zodb"
)

// Worker is the goroutine that flushes, enters and leaves snapshots, merges B into A, and does
// the steps of packs. A table determines the next job: see situation.Job in package
// state.
type Worker struct {
	o       WorkerConfig
	journal *journal.Log
	flushes atomic.Int64 // batches
	ended   chan struct{}

	request atomic.Pointer[reclaim]
	gave    reclaimed

	// Of its goroutine:
	slice int  // files that the next step of merging B into A moves
	moved bool // the steps before have moved something
	// sealed is how many transactions of the queue have all their files, durably, and
	// lack only x.serial.
	sealed int
	tending
}

// NewWorker returns a Worker that has not begun.
func NewWorker(o WorkerConfig) *Worker { return &Worker{o: o} }

// Flushes returns how many batches were flushed.
func (w *Worker) Flushes() int64 { return w.flushes.Load() }

// Start starts the goroutine. For the open of a storage alone.
func (w *Worker) Start(j *journal.Log) {
	w.journal = j
	w.ended = make(chan struct{})
	w.slice = w.firstSlice()
	w.touch()
	w.o.Snapshots.leaveAt = w.o.Clock().Add(w.o.RetryInterval) // the open has just looked
	go func() {
		defer close(w.ended)
		w.run()
	}()
}

// Stop ends the goroutine, and flushes the rest, as the settings say. The state says by then
// that the storage is closed.
func (w *Worker) Stop() error {
	w.o.State.Wake()
	<-w.ended
	return w.shutDown()
}

func (w *Worker) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	flushed := true // see situation.Job in package state
	woken := false  // it has just waited
	looked := false // it has just looked whether it can leave snapshot mode: everything else comes first
	for {
		w.o.Snapshots.tellLong()
		w.tend()
		next := w.o.State.Decide(flushed, !looked && (woken || !w.o.Clock().Before(w.o.Snapshots.leaveAt)))
		woken, looked = false, next.Job == state.JobLeave
		switch next.Job {
		case state.JobStop:
			w.stopTending()
			w.o.State.EndTask()
			w.o.Space.Look() // a storage that was open for a moment only has a reserve as well
			return
		case state.JobLeave:
			w.o.Snapshots.leaveByItself()
			continue
		case state.JobTask:
			w.doStep()
			w.touch()
			w.noteLost()
			flushed = false
			continue
		case state.JobNone:
			timer.Reset(min(w.o.Space.Wait(next.Wait), w.tendWait()))
			select {
			case <-w.o.State.Woken():
			case <-timer.C:
			}
			woken = true
			w.listenAgain()
			w.o.Space.Look()
			w.touchIfShort()
			continue
		case state.JobFlush:
			flushed = true
		case state.JobMerge:
			flushed = false
		}
		err := w.Do(next)
		w.note(err)
		w.touch()
		if err != nil {
			w.entryInTrouble()
		}
		w.noteLost()
		w.o.Space.Look()
	}
}

// Do flushes a batch, enters snapshot mode or merges a slice of B into A, as was decided. It is
// called by the goroutine of the worker, or while that stands still.
func (w *Worker) Do(next state.Decision) error {
	switch next.Job {
	case state.JobFlush:
		return w.flush(next.UpTo)
	case state.JobEnter:
		return w.o.Snapshots.enterNow(next.Entry)
	case state.JobMerge:
		return w.merge()
	}
	return nil
}

// noteLost makes the storage read-only if changes of A do not become durable any more.
// The error of the call that found this out may have another cause.
func (w *Worker) noteLost() {
	if err := w.o.Store.Failure(); err != nil {
		_ = w.o.State.Fail(err) // logged there, and told to every writer
	}
}

// maxFirstSlice bounds the first slice of a merge of B into A, because a close does one.
const maxFirstSlice = 2000

// firstSlice is how many files a merge of B into A begins with.
func (w *Worker) firstSlice() int {
	return min(w.o.Home.Settings.Journal.FlushFileThreshold, maxFirstSlice)
}

// merge moves a slice of B into A.
func (w *Worker) merge() error {
	if err := w.o.Home.Check(); err != nil {
		return err
	}
	moved, empty, err := w.o.Store.Thaw(w.slice)
	w.moved = w.moved || moved > 0
	if err != nil {
		return err
	}
	w.slice = w.slice*7/5 + 1
	if moved == 0 && !empty {
		return fmt.Errorf("the directory B holds too many foreign files; move them away")
	}
	if !empty {
		return nil
	}
	w.slice = w.firstSlice()
	w.o.State.Merged()
	if w.moved {
		w.o.Log.Info("merged B into A")
	}
	w.moved = false
	return nil
}

// shutDown is the end of a close: the committer and the worker have stopped.
func (w *Worker) shutDown() error {
	asItIs := w.o.State.ShutDown() || w.o.State.Failure() != nil || w.o.Home.Settings.Filesystem.QuickShutdown && !w.o.CleanShutdown
	if asItIs {
		return nil
	}
	if w.o.State.IsMerging() {
		// One slice more, so that a storage with an empty B, which may have been opened
		// a moment ago, is closed cleanly, and the close still takes no longer than that.
		if err := w.merge(); err != nil {
			return fmt.Errorf("moving B into A failed; nothing is lost, the next open goes on: %w", err)
		}
		if w.o.State.IsMerging() {
			return nil
		}
	}
	for len(w.o.State.Unflushed()) > 0 {
		if err := w.flush(zodb.MaxTID); err != nil {
			return fmt.Errorf("the last flush failed; nothing is lost, the next open does it again: %w", err)
		}
	}
	if err := w.o.Home.Check(); err != nil {
		return err
	}
	w.o.Tally.saveUnsaved()
	if err := w.o.Store.Sync(); err != nil {
		return err
	}
	if err := w.journal.Clean(); err != nil {
		return err
	}
	// A is a snapshot of this moment from now on, also if the clock is set back
	// before the next open.
	moment := w.o.Clock()
	if err := w.o.Snapshots.RaiseFloor(moment); err != nil {
		return err
	}
	return snapfile.Write(w.o.Home.FS, snapfile.Record{Code: snapfile.Shutdown, Moment: moment.UTC(), TID: w.o.State.LastTID()}, w.o.Home.Sync())
}

// doStep does one step of a task. Its errors are those of the task, not of the storage.
func (w *Worker) doStep() {
	t := w.o.State.BeginStep()
	if t == nil {
		return
	}
	done, err := false, w.o.Home.Check()
	if err == nil {
		done, err = t.Step()
	}
	w.o.State.EndStep(t, done, err)
}
