package control

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// An error loses its type on the way through the socket. Causes that a tool may branch on, or give
// advice about, go beside the text: each cause is an error of the same type again at the other end.
// Both ends are processes of one machine, so the number of a system error means the same to both.

// cause is one error among those that a refusal wraps, as it is sent.
type cause struct {
	// Kind is a name of kinds, or one of the constants.
	Kind string `json:"kind"`
	Op   string `json:"op,omitempty"`
	Path string `json:"path,omitempty"`
	// Errno is the number of a system error.
	Errno int       `json:"errno,omitempty"`
	OID   *zodb.OID `json:"oid,omitempty"`
	Text  string    `json:"text,omitempty"`
}

// Kinds of cause that carry facts.
const (
	kindSystem = "system" // a system error, perhaps with operation and path
	kindBroken = "broken" // *zodb.BrokenError
)

// kinds are the sentinels that have names. Names are never changed: program and server may be
// of different releases.
func kinds() map[string]error {
	return map[string]error{
		"closed":        zodb.ErrClosed,
		"locked":        vfs.ErrLocked,
		"full":          zodb.ErrDiskFull,
		"frees-nothing": zodb.ErrFreesNothing,
		"scarce":        zodb.ErrScarce,
		"read-only":     zodb.ErrReadOnly,
		"snapshot-mode": zodb.ErrSnapshotMode,
		"unsupported":   zodb.ErrUnsupported,
		"damage":        zodb.ErrCorrupt,
	}
}

// maxCauses is the largest number of causes that are sent with system errors; the first ones.
const maxCauses = 16

// causesOf returns the causes of an error that the other end can make use of.
func causesOf(err error) []cause {
	var found []cause
	all := kinds()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if errors.Is(err, all[name]) {
			found = append(found, cause{Kind: name})
		}
	}
	collect(err, func(c cause) {
		if len(found) < maxCauses {
			found = append(found, c)
		}
	})
	return found
}

// collect calls add for each cause with facts that is somewhere in an error.
func collect(err error, add func(cause)) {
	switch e := err.(type) {
	case *zodb.BrokenError:
		add(cause{Kind: kindBroken, OID: &e.OID, Text: e.Err.Error()})
	case *fs.PathError:
		if errno, ok := errors.AsType[syscall.Errno](e.Err); ok {
			add(cause{Kind: kindSystem, Op: e.Op, Path: e.Path, Errno: int(errno)})
			return
		}
	case *os.LinkError:
		if errno, ok := errors.AsType[syscall.Errno](e.Err); ok {
			add(cause{Kind: kindSystem, Op: e.Op, Path: e.New, Errno: int(errno)})
			return
		}
	case syscall.Errno:
		add(cause{Kind: kindSystem, Errno: int(e)})
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			collect(one, add)
		}
	case interface{ Unwrap() error }:
		if one := e.Unwrap(); one != nil {
			collect(one, add)
		}
	}
}

// err returns the error that a cause stands for; nil if this release does not know it.
func (c cause) err() error {
	switch {
	case c.Kind == kindSystem && c.Path != "":
		return &fs.PathError{Op: c.Op, Path: c.Path, Err: syscall.Errno(c.Errno)}
	case c.Kind == kindSystem:
		return syscall.Errno(c.Errno)
	case c.Kind == kindBroken && c.OID != nil:
		return &zodb.BrokenError{OID: *c.OID, Err: errors.New(c.Text)}
	}
	return kinds()[c.Kind]
}

// refused returns the error for an answer that refuses.
func refused(r response) *RefusedError {
	e := &RefusedError{Reason: r.Error}
	for _, c := range r.Causes {
		if err := c.err(); err != nil {
			e.Causes = append(e.Causes, err)
		}
	}
	// Of a server that does not send causes.
	if r.Locked && !errors.Is(e, vfs.ErrLocked) {
		e.Causes = append(e.Causes, vfs.ErrLocked)
	}
	if r.Full && !errors.Is(e, zodb.ErrDiskFull) {
		e.Causes = append(e.Causes, zodb.ErrDiskFull)
	}
	return e
}
