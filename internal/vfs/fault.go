package vfs

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/dirstorage/dirstorage/zodb"
)

// Fault is the meaning of a file-system error for later operations.
type Fault uint8

// The faults. The kind of an error says nothing about operations before it: see [Passes].
const (
	NoFault Fault = iota
	// FullFault: there was no room, or no more than a quota allows.
	FullFault
	// ScarceFault: the process or the machine lacked something else at that moment,
	// descriptors or memory.
	ScarceFault
	// LastingFault is every other error, one that hides behind a passing one included.
	LastingFault
)

// FaultOf classifies an error. A joined error passes only if all its parts do.
func FaultOf(err error) Fault {
	if err == nil {
		return NoFault
	}
	worst := NoFault
	eachCause(err, func(cause error) {
		worst = max(worst, faultOfCause(cause))
	})
	return worst
}

func faultOfCause(cause error) Fault {
	if errno, ok := cause.(syscall.Errno); ok {
		switch errno {
		case syscall.ENOSPC, syscall.EDQUOT:
			return FullFault
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR:
			return ScarceFault
		}
		return LastingFault
	}
	switch cause {
	case zodb.ErrDiskFull:
		return FullFault
	case zodb.ErrScarce:
		return ScarceFault
	}
	return LastingFault
}

// lasting is implemented by errors that report a lasting state, no matter which error they wrap: a
// storage that became read-only for want of room stays so when there is room again.
type lasting interface{ Lasts() }

// eachCause calls f for each error that wraps no other, or that lasts.
func eachCause(err error, f func(error)) {
	switch e := err.(type) {
	case lasting:
	case interface{ Unwrap() []error }:
		if list := e.Unwrap(); len(list) > 0 {
			for _, one := range list {
				eachCause(one, f)
			}
			return
		}
	case interface{ Unwrap() error }:
		if one := e.Unwrap(); one != nil {
			eachCause(one, f)
			return
		}
	}
	f(err)
}

// Passes reports whether an error has to do with the moment only, so that the same
// may succeed later. Of an fsync it proves nothing: the kernel may drop data that it could not
// write, and the next fsync succeeds. After a failed fsync the contents have to be written anew.
func Passes(err error) bool {
	f := FaultOf(err)
	return f == FullFault || f == ScarceFault
}

// SaysFull reports whether any part of an error says that there was no room. Whether it
// passes is another question.
func SaysFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// NotBegun reports whether an error says that a file or directory could not even be
// opened because the process or the machine had no descriptor left. So of a SyncDir
// or SyncAll that failed with it, nothing is lost.
func NotBegun(err error) bool {
	begun := err == nil
	eachCause(err, func(cause error) {
		begun = begun || !slices.Contains([]error{syscall.EMFILE, syscall.ENFILE}, cause)
	})
	return !begun
}

// WithPassing makes an error that passes match ErrDiskFull or ErrScarce, and
// returns every other one as it is.
func WithPassing(err error) error {
	var sentinel error
	switch FaultOf(err) {
	case FullFault:
		sentinel = zodb.ErrDiskFull
	case ScarceFault:
		sentinel = zodb.ErrScarce
	default:
		return err
	}
	if errors.Is(err, sentinel) {
		return err
	}
	return &passing{sentinel, err}
}

type passing struct{ sentinel, cause error }

func (p *passing) Error() string        { return p.sentinel.Error() + ": " + p.cause.Error() }
func (p *passing) Is(target error) bool { return target == p.sentinel }
func (p *passing) Unwrap() error        { return p.cause }

// WithFull is WithPassing for errors that are joined of several: one of which any part says
// that there is no room matches ErrDiskFull.
func WithFull(err error) error {
	if SaysFull(err) && !errors.Is(err, zodb.ErrDiskFull) {
		return fmt.Errorf("%w: %w", zodb.ErrDiskFull, err)
	}
	return WithPassing(err)
}
