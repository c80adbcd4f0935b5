package engine

import (
	"context"
	"errors"

	"github.com/dirstorage/dirstorage/internal/engine/state"
)

// inWorker has the worker call step until it is done or fails, or until ctx ends: see
// [state.Task]. In snapshot mode, and while B is merged into A, it waits.
func (s *Storage) inWorker(ctx context.Context, step func() (done bool, err error)) error {
	t, err := s.state.BeginTask(step)
	if err != nil {
		return err
	}
	if waiting := s.state.TaskWaits(); waiting != "" {
		s.log.Warn("a pack waits", "for", waiting)
	}
	s.state.Wake()
	select {
	case <-t.Done():
		return t.Err()
	case <-ctx.Done():
	}
	s.state.CancelTask(t)
	<-t.Done()
	if errors.Is(t.Err(), state.ErrStopped) {
		return context.Cause(ctx)
	}
	return t.Err() // nil if it came to its end all the same
}

// doStep does one step of a task. Its errors are those of the task, not of the storage.
func (s *Storage) doStep() {
	t := s.state.BeginStep()
	if t == nil {
		return
	}
	done, err := false, s.checkHome()
	if err == nil {
		done, err = t.Step()
	}
	s.state.EndStep(t, done, err)
}
