package state

import "github.com/dirstorage/dirstorage/internal/store"

// Tendable returns the side of which files may give way to denser ones now; "": neither. That is A
// when it is free and nobody has work on it, and B while A stands still.
func (s *State) Tendable() store.Side {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.closed || s.failure != nil || s.snap.entering != nil || s.snap.merging || s.task != nil:
		return ""
	case s.snap.mode != ModeNone:
		return store.B
	}
	return store.A
}

// IsIdle reports whether everything is flushed.
func (s *State) IsIdle() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.index.queue) == 0
}
