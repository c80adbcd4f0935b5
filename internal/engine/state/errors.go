package state

import (
	"errors"

	"github.com/dirstorage/dirstorage/zodb"
)

// Sentinels, for errors.Is.
var (
	// ErrSnapshotMode: not possible in the present state of snapshot mode.
	ErrSnapshotMode = errors.New("snapshot mode")
	// ErrUnsupported: the class Minimal has no history.
	ErrUnsupported = errors.New("not supported by a storage of class Minimal")
	// ErrClosed: the storage was closed.
	ErrClosed = errors.New("storage is closed")
)

// FailedError is what every write gets after a failure that made the storage
// read-only: a failed write or fsync of the log or of a flush, or a HOME that
// was replaced. What passes by itself, such as a full disk, is none; see
// [vfs.FaultOf]. Reading goes on. It stays until the storage is opened again.
type FailedError struct {
	Cause error // the first one
}

func (e *FailedError) Error() string {
	return "storage is read-only since an earlier failure: " + e.Cause.Error()
}

// Is matches zodb.ErrReadOnly.
func (e *FailedError) Is(target error) bool { return target == zodb.ErrReadOnly }

// Lasts says that it does not pass, whatever the cause was.
func (e *FailedError) Lasts() {}

// Unwrap returns the first cause.
func (e *FailedError) Unwrap() error { return e.Cause }
