package state

import (
	"context"
	"errors"
)

// Task is work on A that the worker does in small steps between its own: no
// flush, no entering of snapshot mode and no merge of B into A is under way during a
// step, and A is a coherent snapshot before and after each.
type Task struct {
	Step func() (done bool, err error)
	done chan struct{}
	err  error // before done is closed, the worker's

	running, cancelled bool // guarded by State.mu
}

// ErrStopped is the error of a task that was cancelled.
var ErrStopped = errors.New("stopped")

// Done is closed when the task has come to its end.
func (t *Task) Done() <-chan struct{} { return t.done }

// Err is the error of the task, once Done is closed.
func (t *Task) Err() error { return t.err }

// RunTask has the worker call step until it is done or fails, or until ctx ends, of which
// the error is the cause then. In snapshot mode, and while B is merged into A, it waits, and
// the log says so. There is one task at a time; the callers see to that.
func (s *State) RunTask(ctx context.Context, step func() (done bool, err error)) error {
	t, err := s.beginTask(step)
	if err != nil {
		return err
	}
	if waiting := s.TaskWaits(); waiting != "" {
		s.o.Log.Warn("a pack waits", "for", waiting)
	}
	s.Wake()
	select {
	case <-t.Done():
		return t.Err()
	case <-ctx.Done():
	}
	s.cancelTask(t)
	<-t.Done()
	if errors.Is(t.Err(), ErrStopped) {
		return context.Cause(ctx)
	}
	return t.Err() // nil if it came to its end all the same
}

// beginTask gives the worker a task. There is one at a time; the caller sees to that. The
// error is that of Writable.
func (s *State) beginTask(step func() (done bool, err error)) (*Task, error) {
	t := &Task{Step: step, done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return nil, err
	}
	s.task = t
	return t, nil
}

// cancelTask ends a task with ErrStopped: at once, or after the step that is under way
// unless that is its last one.
func (s *State) cancelTask(t *Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.cancelled = true
	if s.task == t && !t.running {
		s.endTask(ErrStopped)
	}
}

// BeginStep returns the task of which the worker is about to do a step; nil if there is none
// any more. It is not cancelled before EndStep.
func (s *State) BeginStep() *Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.task != nil {
		s.task.running = true
	}
	return s.task
}

// EndStep notes the outcome of a step. With done or an error the task is over.
func (s *State) EndStep(t *Task, done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.running = false
	switch {
	case done || err != nil:
		s.endTask(err)
	case t.cancelled:
		s.endTask(ErrStopped)
	}
}

// EndTask ends the task that there is, if any, with the error of Writable: the worker stops.
func (s *State) EndTask() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endTask(s.writable())
}

// endTask ends the task that there is, if any. mu must be held.
func (s *State) endTask(err error) {
	if t := s.task; t != nil {
		s.task = nil
		t.err = err
		close(t.done)
	}
}

// TaskWaits names the obstacle to a task: the one that brought the storage into snapshot
// mode, and the time; empty if there is no obstacle.
func (s *State) TaskWaits() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.task == nil || s.snap.mode == ModeNone {
		return ""
	}
	return "the end of snapshot mode: " + s.describeMode()
}
