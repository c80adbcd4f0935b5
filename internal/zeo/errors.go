package zeo

import (
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// Classes of exceptions that clients build from an error's details; all others
// they show as a ServerException with the name and the details.
const (
	classPOSKey      = "ZODB.POSException.POSKeyError"
	classReadOnly    = "ZODB.POSException.ReadOnlyError"
	classTransaction = "ZODB.POSException.StorageTransactionError"
	classConflict    = "ZODB.POSException.ConflictError"
	classReadClash   = "ZODB.POSException.ReadConflictError"
	classUndo        = "ZODB.POSException.UndoError"
	classUndos       = "ZODB.POSException.MultipleUndoErrors"
	classStorage     = "ZODB.POSException.StorageError"
	classSystem      = "ZODB.POSException.StorageSystemError"
	classKey         = "builtins.KeyError"
	classType        = "builtins.TypeError"
	classAssertion   = "builtins.AssertionError"
)

// pythonError is an error as it is sent.
type pythonError struct {
	class   string
	details any
}

func (e *pythonError) Error() string { return e.class + textOf(e.details) }

// typeError is a call with wrong arguments.
type typeError struct{ reason string }

func (e *typeError) Error() string { return e.reason }

// blobMissingError is a blob that was asked for and is not there.
type blobMissingError struct {
	oid zodb.OID
	tid zodb.TID
}

func (e *blobMissingError) Error() string {
	return fmt.Sprintf("no blob of object %s at tid %s", e.oid, e.tid)
}

// transactionError is a call that does not fit the state of the transaction.
func transactionError(args ...any) error { return &pythonError{classTransaction, wire.Tuple(args)} }

// describe finds the Python exception for an error. Details that are missing would make
// it wait for ever, so each has its layout here.
func (c *conn) describe(err error) *pythonError {
	if p, ok := errors.AsType[*pythonError](err); ok {
		return p
	}
	if e, ok := errors.AsType[*typeError](err); ok {
		return &pythonError{classType, wire.Tuple{clipped(e.reason)}}
	}
	if e, ok := errors.AsType[*blobMissingError](err); ok {
		return &pythonError{classPOSKey, wire.Tuple{"No blob file", e.oid, e.tid}}
	}
	if undo := undoErrors(err); len(undo) > 0 {
		if errors.Is(err, zodb.ErrCorrupt) {
			c.damage(err)
		}
		return describeUndo(undo)
	}
	if e, ok := errors.AsType[*zodb.ConflictError](err); ok {
		return describeConflict(e)
	}
	if errors.Is(err, zodb.ErrCorrupt) { // before KeyError: a damaged object is not a missing one
		c.damage(err)
		if e, ok := errors.AsType[*zodb.CorruptError](err); ok && e.NoObject {
			return &pythonError{classPOSKey, wire.Tuple{e.OID}}
		}
		return &pythonError{classSystem, wire.Tuple{clipped(err.Error())}}
	}
	if e, ok := errors.AsType[*zodb.KeyError](err); ok {
		return &pythonError{classPOSKey, wire.Tuple{e.OID}}
	}
	if e, ok := errors.AsType[*zodb.DanglingError](err); ok {
		return &pythonError{"ZODB.POSException.DanglingReferenceError", wire.Tuple{e.OID, e.Target}}
	}
	switch {
	case errors.Is(err, zodb.ErrReadOnly):
		if e, ok := errors.AsType[*zodb.FailedError](err); ok {
			c.log().Error("refused: the storage is read-only since a failure", "err", e)
		}
		return &pythonError{classReadOnly, wire.Tuple{}}
	case errors.Is(err, zodb.ErrState):
		return &pythonError{classTransaction, wire.Tuple{clipped(err.Error())}}
	case vfs.Passes(err), errors.Is(err, zodb.ErrDiskFull), errors.Is(err, zodb.ErrScarce), errors.Is(err, zodb.ErrClosed),
		errors.Is(err, zodb.ErrUnsupported), errors.Is(err, zodb.ErrEmptyRecord), errors.Is(err, zodb.ErrOldTID), errors.Is(err, context.Canceled), errors.Is(err, zodb.ErrSnapshotMode), errors.Is(err, zodb.ErrLocked):
		c.log().Warn("request failed", "err", err)
		return &pythonError{classStorage, wire.Tuple{clipped(err.Error())}}
	}
	c.log().Error("request failed", "err", err)
	return &pythonError{classSystem, wire.Tuple{clipped(err.Error())}}
}

// damage tells the log, and the program, of damage that a request met.
func (c *conn) damage(err error) {
	c.log().Error("damage", "err", err)
	if c.hub != nil && c.srv.o.Damage != nil {
		c.srv.o.Damage(c.hub.name, err)
	}
}

// describeConflict does not look for the class: the resolver of a conflict has it.
func describeConflict(e *zodb.ConflictError) *pythonError {
	class, message := classConflict, "database conflict error"
	if e.Read {
		class, message = classReadClash, "database read conflict error"
	}
	return &pythonError{class, wire.Dict{{Key: "message", Value: message}, {Key: "oid", Value: e.OID}, {Key: "class_name", Value: nil},
		{Key: "serials", Value: wire.Tuple{e.Current, e.Serial}}}}
}

// undoErrors returns the undo errors that are joined in err.
func undoErrors(err error) []*zodb.UndoError {
	switch e := err.(type) {
	case *zodb.UndoError:
		return []*zodb.UndoError{e}
	case interface{ Unwrap() []error }:
		var list []*zodb.UndoError
		for _, one := range e.Unwrap() {
			list = append(list, undoErrors(one)...)
		}
		return list
	case interface{ Unwrap() error }:
		return undoErrors(e.Unwrap())
	}
	return nil
}

// describeUndo: an error about a transaction as a whole is an UndoError; those
// of objects come all in one.
func describeUndo(list []*zodb.UndoError) *pythonError {
	var pairs wire.List
	for _, e := range list {
		if e.Whole {
			return &pythonError{classUndo, wire.Dict{{Key: "_reason", Value: e.Reason}, {Key: "_oid", Value: nil}}}
		}
		pairs = append(pairs, wire.Tuple{e.OID, e.Reason})
	}
	return &pythonError{classUndos, wire.Dict{{Key: "_errs", Value: pairs}}}
}
