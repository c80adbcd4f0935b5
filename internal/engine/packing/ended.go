package packing

import (
	"context"
	"errors"
)

// whyEnded returns why something ended with an error: the cause of the context if the
// error only says that this has ended. An error of another kind stays: it may have come
// first, or come from the work that had to be done then.
func whyEnded(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil || !errors.Is(err, ctx.Err()):
		return err
	case saysOnly(err, ctx.Err(), cause):
		return cause
	case errors.Is(err, cause):
		return err
	}
	return errors.Join(cause, err)
}

// saysOnly reports whether an error, with all that it wraps, is made of some others.
func saysOnly(err error, others ...error) bool {
	for _, other := range others {
		if err == other {
			return true
		}
	}
	switch w := err.(type) {
	case interface{ Unwrap() error }:
		next := w.Unwrap()
		return next != nil && saysOnly(next, others...)
	case interface{ Unwrap() []error }:
		for _, e := range w.Unwrap() {
			if !saysOnly(e, others...) {
				return false
			}
		}
		return len(w.Unwrap()) > 0
	}
	return false
}
