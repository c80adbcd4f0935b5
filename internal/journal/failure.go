package journal

import (
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// patiently repeats an operation for some seconds while its error is one that passes. It is for the
// few places where giving up would poison the log; an fsync is never repeated.
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
