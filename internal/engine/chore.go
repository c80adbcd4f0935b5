package engine

import (
	"context"
	"errors"
)

// chore is work on A that the worker does in small steps between its own: no
// flush, no entering of snapshot mode and no recombination is under way during a
// step, and A is a coherent snapshot before and after each.
type chore struct {
	step func() (done bool, err error)
	done chan struct{}
	err  error

	// Guarded by Storage.mu:
	running, cancelled bool
}

// inWorker has the worker call step until it is done or fails, or until ctx ends.
// In snapshot mode, and while B is moved into A, it waits.
func (s *Storage) inWorker(ctx context.Context, step func() (done bool, err error)) error {
	c := &chore{step: step, done: make(chan struct{})}
	s.mu.Lock()
	if err := s.writable(); err != nil {
		s.mu.Unlock()
		return err
	}
	s.worker.chore = c
	s.mu.Unlock()
	if waiting := s.choreWaits(); waiting != "" {
		s.log.Warn("a pack waits", "for", waiting)
	}
	s.worker.wake()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	c.cancelled = true
	if s.worker.chore == c && !c.running {
		s.worker.endChore(errStopped)
	}
	s.mu.Unlock()
	<-c.done
	if errors.Is(c.err, errStopped) {
		return context.Cause(ctx)
	}
	return c.err // nil if it came to its end all the same
}

// endChore ends the chore that there is, if any. Storage.mu must be held.
func (w *worker) endChore(err error) {
	if c := w.chore; c != nil {
		w.chore = nil
		c.err = err
		close(c.done)
	}
}

// doChore does one step. Its errors are those of the chore, not of the storage.
func (w *worker) doChore(s *Storage) {
	s.mu.Lock()
	c := w.chore
	if c == nil {
		s.mu.Unlock()
		return
	}
	c.running = true
	s.mu.Unlock()
	err := s.checkHome()
	done := false
	if err == nil {
		done, err = c.step()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.running = false
	switch {
	case done || err != nil:
		w.endChore(err)
	case c.cancelled:
		w.endChore(errStopped)
	}
}
