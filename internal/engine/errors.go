package engine

import (
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Sentinels, for errors.Is.
var (
	// ErrNotAStorage: there is no HOME at that path. Without the permission to look, the
	// error is that of the file system.
	ErrNotAStorage = settings.ErrNotAHome
	// ErrLocked: another process has the storage open, or holds its sublock.
	ErrLocked = errors.New("locked")
	// ErrSnapshotMode: not possible in the present state of snapshot mode.
	ErrSnapshotMode = state.ErrSnapshotMode
	// ErrClosed: the storage was closed.
	ErrClosed = state.ErrClosed
	// ErrDiskFull: there was no room. Nothing is lost; it goes on when there is.
	ErrDiskFull = vfs.ErrDiskFull
	// ErrScarce: the process or the machine lacked something else at that moment,
	// descriptors or memory. Nothing is lost; it goes on when there is enough.
	ErrScarce = vfs.ErrScarce
	// ErrUnsupported: the class Minimal has no history.
	ErrUnsupported = state.ErrUnsupported
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
)

// FailedError is what every write gets after a failure that made the storage read-only.
type FailedError = state.FailedError

// ConflictsError is the result of a vote that met conflicts: all of them. The
// transaction stays open and keeps its locks, so that the caller may store
// resolved records based on Current and vote again; or he aborts it.
//
// A resolved record is what three states merge to: that of the revision Serial as the
// old one, that of the revision Current as the committed one, and that of Txn.Data as
// the new one. For a conflict with Undo set that is the change to take back: several
// undos of one object may take several votes.
type ConflictsError struct {
	Conflicts []*zodb.ConflictError // in the order stored; never empty
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
	TID   zodb.TID // the tid that it has if it is there
	Cause error
}

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("transaction %s may or may not have been committed; open the storage again to see: %s", e.TID, e.Cause)
}

// Lasts says that it does not pass, whatever the cause was.
func (e *UnknownOutcomeError) Lasts() {}

// Unwrap returns the cause.
func (e *UnknownOutcomeError) Unwrap() error { return e.Cause }
