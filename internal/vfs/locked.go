package vfs

import (
	"fmt"
	"strconv"
	"strings"
)

// Error names the holder of the lock.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another process holds %s", e.Name)
	}
	return fmt.Sprintf("process %d holds %s", e.PID, e.Name)
}

// Is matches ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// LockContent returns the bytes of a lock file: a blank, the decimal process id, a line feed.
// Nothing is decided by it.
func LockContent(pid int) []byte { return []byte(" " + strconv.Itoa(pid) + "\n") }

// NewLockedError returns the error for a lock file with that content.
func NewLockedError(name string, content []byte) *LockedError {
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || pid < 0 {
		pid = 0
	}
	return &LockedError{Name: name, PID: pid}
}
