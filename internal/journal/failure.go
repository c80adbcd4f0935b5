package journal

import (
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// patiently does something again and again for some seconds while it fails because
// of what passes. It is for the few places where to give up would poison the log;
// an fsync is never repeated.
func patiently(do func() error) error {
	err := do()
	for i := 0; i < 40 && vfs.Passes(err); i++ {
		time.Sleep(min(time.Millisecond<<min(i, 10), 100*time.Millisecond))
		err = do()
	}
	return err
}

// Failure returns the first cause of the log being poisoned; nil if it is not.
func (l *Log) Failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}
