package zeoclient

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// ErrClosed is the error of calls after Close.
var ErrClosed = errors.New("the connection was closed here")

// ProtocolError tells that the other side does not keep to the protocol.
type ProtocolError struct{ What string }

func (e *ProtocolError) Error() string { return "protocol: " + e.What }

func protocolError(format string, args ...any) error {
	return &ProtocolError{fmt.Sprintf(format, args...)}
}

// LostError tells that the connection ended. Calls under way may have been executed or not.
type LostError struct{ Err error }

func (e *LostError) Error() string { return "connection lost: " + e.Err.Error() }

// Unwrap returns why.
func (e *LostError) Unwrap() error { return e.Err }

// ServerError is an answer that is no result.
type ServerError struct {
	Class   string // of the Python exception, such as ZODB.POSException.POSKeyError
	Details any    // its attributes (wire.Dict) or arguments (wire.Tuple)
	Err     error  // the error of package zodb that it stands for; nil if there is none
}

func (e *ServerError) Error() string {
	if e.Err != nil {
		return "server: " + e.Err.Error()
	}
	return "server: " + e.Class + " " + brief(e.Details)
}

// Unwrap returns the error of package zodb.
func (e *ServerError) Unwrap() error { return e.Err }

// AsServerError makes an error of the pair that a failed call is answered with.
func AsServerError(args any) error {
	pair, err := sequence(args, 2)
	if err != nil {
		return protocolError("an error that is not a pair: %v", err)
	}
	class, ok := pair[0].(string)
	if !ok {
		return protocolError("an error whose class is %T", pair[0])
	}
	return &ServerError{Class: class, Details: pair[1], Err: known(class, pair[1])}
}

// known returns the error of package zodb for a Python exception.
func known(class string, details any) error {
	switch class {
	case "ZODB.POSException.POSKeyError", "builtins.KeyError":
		return keyError(class, details)
	case "ZODB.POSException.ConflictError", "ZODB.POSException.ReadConflictError":
		return conflictError(details, class == "ZODB.POSException.ReadConflictError")
	case "ZODB.POSException.ReadOnlyError":
		return zodb.ErrReadOnly
	case "ZODB.POSException.StorageTransactionError":
		return fmt.Errorf("%w: %s", zodb.ErrState, brief(details))
	case "ZODB.POSException.UndoError", "ZODB.POSException.MultipleUndoErrors":
		return &zodb.UndoError{Whole: true, Reason: brief(details)}
	}
	return nil
}

func keyError(class string, details any) error {
	list, err := sequence(details, -1)
	if err != nil || len(list) == 0 {
		return zodb.ErrNotFound
	}
	e := &zodb.KeyError{}
	for _, v := range list {
		switch v := v.(type) {
		case string:
			e.Reason = v
		case []byte:
			switch {
			case len(v) != 8:
			case e.OID == 0:
				e.OID = zodb.OIDFromBytes(v)
			default:
				e.TID = zodb.TIDFromBytes(v)
			}
		default:
			if class == "builtins.KeyError" { // of an iterator
				return nil
			}
		}
	}
	return e
}

func conflictError(details any, read bool) error {
	d, ok := details.(wire.Dict)
	if !ok {
		return zodb.ErrConflict
	}
	e := &zodb.ConflictError{Read: read}
	if b, ok := d.Get("oid").([]byte); ok && len(b) == 8 {
		e.OID = zodb.OIDFromBytes(b)
	}
	if pair, err := sequence(d.Get("serials"), 2); err == nil {
		e.Current, _ = tidOrNone(pair[0])
		e.Serial, _ = tidOrNone(pair[1])
	}
	return e
}

// brief prints details for a message.
func brief(details any) string { return fmt.Sprintf("%.500s", fmt.Sprint(text(details))) }

// text makes bytes readable in details that are shown.
func text(v any) any {
	switch v := v.(type) {
	case []byte:
		return fmt.Sprintf("%x", v)
	case wire.Tuple:
		return texts(v)
	case wire.List:
		return texts(v)
	case wire.Dict:
		if errs := v.Get("_errs"); errs != nil {
			return text(errs)
		}
		list := make([]string, len(v))
		for i, p := range v {
			list[i] = fmt.Sprintf("%v=%v", p.Key, text(p.Value))
		}
		return strings.Join(list, " ")
	}
	return v
}

func texts(list []any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = text(v)
	}
	return out
}

// sequence returns the members of a tuple or list; n of them unless that is negative.
func sequence(v any, n int) ([]any, error) {
	var list []any
	switch v := v.(type) {
	case wire.Tuple:
		list = v
	case wire.List:
		list = v
	default:
		return nil, protocolError("%T where a sequence should be", v)
	}
	if n >= 0 && len(list) != n {
		return nil, protocolError("a sequence of %d, not of %d", len(list), n)
	}
	return list, nil
}

func asTID(v any) (zodb.TID, error) {
	b, ok := v.([]byte)
	if !ok || len(b) != 8 {
		return 0, protocolError("%T where a tid should be", v)
	}
	return zodb.TIDFromBytes(b), nil
}

// tidOrNone is asTID with 0 for None.
func tidOrNone(v any) (zodb.TID, error) {
	if v == nil {
		return 0, nil
	}
	return asTID(v)
}

func asOID(v any) (zodb.OID, error) {
	b, ok := v.([]byte)
	if !ok || len(b) != 8 {
		return 0, protocolError("%T where an oid should be", v)
	}
	return zodb.OIDFromBytes(b), nil
}

func asOIDs(v any) ([]zodb.OID, error) {
	list, err := sequence(v, -1)
	if err != nil {
		return nil, err
	}
	oids := make([]zodb.OID, len(list))
	for i, v := range list {
		if oids[i], err = asOID(v); err != nil {
			return nil, err
		}
	}
	return oids, nil
}

func asBytes(v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return v, nil
	case string:
		return []byte(v), nil
	}
	return nil, protocolError("%T where bytes should be", v)
}
