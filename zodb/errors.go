package zodb

import (
	"errors"
	"fmt"
)

// Sentinels, for errors.Is. The ZODB exception that each stands for is in the
// comment; the network server translates both ways.
var (
	ErrNotFound = errors.New("no such object")             // POSKeyError
	ErrConflict = errors.New("conflict")                   // ConflictError, ReadConflictError
	ErrReadOnly = errors.New("storage is read-only")       // ReadOnlyError
	ErrUndo     = errors.New("cannot undo")                // UndoError
	ErrDangling = errors.New("dangling reference")         // DanglingReferenceError
	ErrState    = errors.New("wrong state of transaction") // StorageTransactionError
	ErrCorrupt  = errors.New("corrupt data")               // StorageError
)

// KeyError tells that an object, or a revision of it, does not exist.
type KeyError struct {
	OID    OID
	TID    TID    // the revision asked for; 0 = the current one
	Reason string // e.g. “creation was undone”; may be empty
}

func (e *KeyError) Error() string {
	s := "no object " + e.OID.String()
	if e.TID != 0 {
		s += " at tid " + e.TID.String()
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Is matches ErrNotFound.
func (e *KeyError) Is(target error) bool { return target == ErrNotFound }

// ConflictError tells that a store or a check-current-serial was based on a
// revision that is no longer current.
type ConflictError struct {
	OID     OID
	Serial  TID  // the revision that the client had
	Current TID  // the revision that is current; 0 = the object does not exist
	Read    bool // it came from check-current-serial, not from a store
	Undo    bool // it came from the undo of Serial, after which the object was changed
}

func (e *ConflictError) Error() string {
	kind := "write"
	if e.Read {
		kind = "read"
	}
	if e.Undo {
		return fmt.Sprintf("undo of object %s: it was changed after %s, and nobody merged that", e.OID, e.Serial)
	}
	return fmt.Sprintf("%s conflict on object %s: client had serial %s, current is %s", kind, e.OID, e.Serial, e.Current)
}

// Is matches ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// UndoError tells why a transaction cannot be undone.
type UndoError struct {
	TID    TID
	OID    OID  // the object in the way
	Whole  bool // it is about the transaction as a whole: there is no object
	Reason string
	Err    error // cause, may be nil
}

func (e *UndoError) Error() string {
	if e.Whole {
		return fmt.Sprintf("cannot undo transaction %s: %s", e.TID, e.Reason)
	}
	return fmt.Sprintf("cannot undo transaction %s: object %s: %s", e.TID, e.OID, e.Reason)
}

// Is matches ErrUndo.
func (e *UndoError) Is(target error) bool { return target == ErrUndo }

// Unwrap returns the cause.
func (e *UndoError) Unwrap() error { return e.Err }

// DanglingError tells that a transaction would leave a reference to an object
// that does not exist.
type DanglingError struct {
	OID    OID // the object that refers
	Target OID // the object that is missing
}

func (e *DanglingError) Error() string {
	return fmt.Sprintf("object %s refers to %s, which does not exist", e.OID, e.Target)
}

// Is matches ErrDangling.
func (e *DanglingError) Is(target error) bool { return target == ErrDangling }

// CorruptError reports a file with wrong contents. It is never returned
// together with data.
type CorruptError struct {
	Path   string // relative to HOME, or the path of a Data.fs
	OID    OID    // where known
	TID    TID    // where known
	Offset int64  // where known, else 0
	Reason string
	Err    error // cause, may be nil
	// NoObject: there is nothing to read, because the file of the current revision is
	// missing. Network clients are told so by a POSKeyError, as by the original.
	NoObject bool
}

func (e *CorruptError) Error() string {
	s := "corrupt data in " + e.Path
	if e.OID != 0 || e.TID != 0 {
		s += fmt.Sprintf(" (oid %s, tid %s)", e.OID, e.TID)
	}
	if e.Offset != 0 {
		s += fmt.Sprintf(" at offset %d", e.Offset)
	}
	s += ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is matches ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }
