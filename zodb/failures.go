package zodb

import (
	"errors"
	"fmt"
)

// Sentinels of a storage, for errors.Is. Those of ZODB are in errors.go.
var (
	// ErrNotAStorage: there is no HOME at that path. Without the permission to look, the
	// error is that of the file system.
	ErrNotAStorage = errors.New("not a DirectoryStorage")
	// ErrLocked: another process has the storage open, or holds its sublock.
	ErrLocked = errors.New("locked")
	// ErrSnapshotMode: not possible in the present state of snapshot mode.
	ErrSnapshotMode = errors.New("snapshot mode")
	// ErrClosed: the storage was closed.
	ErrClosed = errors.New("storage is closed")
	// ErrDiskFull: there was no room. Nothing is lost; it goes on when there is.
	ErrDiskFull = errors.New("disk full")
	// ErrFreesNothing: a pack of a full disk would take the reserve and give nothing back at once, since
	// delay_delete keeps its removals. It is refused with an error that matches ErrDiskFull, too.
	ErrFreesNothing = errors.New("the pack would free nothing now")
	// ErrScarce: the process or the machine lacked something else at that moment,
	// descriptors or memory. Nothing is lost; it goes on when there is enough.
	ErrScarce = errors.New("out of descriptors or memory")
	// ErrUnsupported: the class Minimal has no history.
	ErrUnsupported = errors.New("not supported by a storage of class Minimal")
	// ErrEmptyRecord: in files no data mean that the object was deleted.
	ErrEmptyRecord = errors.New("an empty record cannot be stored; to remove an object use Delete")
	// ErrOldTID: a transaction was given a tid that is not later than the last one.
	ErrOldTID = errors.New("the tid of a copied transaction is not later than the last one")
	// ErrJournalOlder: the journal holds transactions that A should have and hasn't.
	ErrJournalOlder = errors.New("journal does not fit the database")
	// ErrNeedsRecovery: an original DirectoryStorage left transactions in the
	// journal, which cannot be read before they are rolled forward.
	ErrNeedsRecovery = errors.New("the storage has to be recovered first")
	// ErrHomeChanged: HOME or its lock file was replaced under a running storage.
	ErrHomeChanged = errors.New("HOME was changed from outside")
	// ErrBrokenLink: a transaction is sound itself, but names another one as the one before
	// than there is, or none that can be.
	ErrBrokenLink = errors.New("the chain of transactions is broken")
)

// OptionError says that an option of a new HOME has a value that it cannot have.
type OptionError struct {
	Option string // "format", "class" or "set"
	Err    error
}

func (e *OptionError) Error() string { return e.Option + ": " + e.Err.Error() }

// Unwrap returns the fault of the value.
func (e *OptionError) Unwrap() error { return e.Err }

// ConflictsError is the result of a vote that met conflicts: all of them. The
// transaction stays open and keeps its locks, so that the caller may store
// resolved records based on Current and vote again; or he aborts it.
//
// A resolved record is the merger of three states: that of the revision Serial as the old one, that
// of the revision Current as the committed one, and that of Txn.Data as the new one. For a conflict
// with Undo set, this merger takes the change of Serial back: several undos of one object may take
// several votes.
type ConflictsError struct {
	Conflicts []*ConflictError // in the order stored; never empty
}

func (e *ConflictsError) Error() string {
	if len(e.Conflicts) == 1 {
		return e.Conflicts[0].Error()
	}
	return fmt.Sprintf("%d conflicts, the first: %s", len(e.Conflicts), e.Conflicts[0])
}

// Unwrap returns the conflicts one by one.
func (e *ConflictsError) Unwrap() []error {
	errs := make([]error, len(e.Conflicts))
	for i, c := range e.Conflicts {
		errs[i] = c
	}
	return errs
}

// UnknownOutcomeError is the result of a Finish whose fdatasync failed, or whose commit
// frame found no room and could not be taken back: after the next open the transaction is
// there whole or not at all, and nobody can say now which. The storage is read-only.
type UnknownOutcomeError struct {
	TID   TID // the tid that it has if it is there
	Cause error
}

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("transaction %s may or may not have been committed; open the storage again to see: %s", e.TID, e.Cause)
}

// Lasts says that it does not pass, no matter which cause it wraps.
func (e *UnknownOutcomeError) Lasts() {}

// Unwrap returns the cause.
func (e *UnknownOutcomeError) Unwrap() error { return e.Cause }

// BrokenError names an object that a pack has to read and cannot, or whose
// references it cannot see.
type BrokenError struct {
	OID OID
	Err error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("object %s cannot be read, so its references are not known: %v", e.OID, e.Err)
}

func (e *BrokenError) Unwrap() error { return e.Err }

// FailedError is the error of every write after a failure that made the storage read-only: a failed
// write or fsync of the log or of a flush, or a HOME that was replaced. A trouble that passes by
// itself, such as a full disk ([ErrDiskFull], [ErrScarce]), is not such a failure. Reading goes on.
// It stays until the storage is opened again.
type FailedError struct {
	Cause error // the first one
}

func (e *FailedError) Error() string {
	return "storage is read-only since an earlier failure: " + e.Cause.Error()
}

// Is matches ErrReadOnly.
func (e *FailedError) Is(target error) bool { return target == ErrReadOnly }

// Lasts says that it does not pass, no matter which cause it wraps.
func (e *FailedError) Lasts() {}

// Unwrap returns the first cause.
func (e *FailedError) Unwrap() error { return e.Cause }
