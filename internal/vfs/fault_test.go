package vfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// full and scarce are all that passes; whatever else there is, or may come, lasts.
var (
	full   = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT}
	scarce = []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR}
)

func TestFaultOfEveryErrno(t *testing.T) {
	t.Parallel()
	for n := syscall.Errno(1); n < 256; n++ {
		want := LastingFault
		if slices.Contains(full, n) {
			want = FullFault
		}
		if slices.Contains(scarce, n) {
			want = ScarceFault
		}
		for _, err := range []error{
			n, &fs.PathError{Op: "open", Path: "x", Err: n}, &os.LinkError{Op: "rename", Err: n}, os.NewSyscallError("open", n),
			fmt.Errorf("flush: %w", n), errors.Join(n, nil), errors.Join(syscall.ENOSPC, n), fmt.Errorf("%w, %w", n, syscall.ENOSPC),
		} {
			if got := FaultOf(err); got != want {
				// Beside “no room”, what lacks something else lacks that; and what lasts, lasts.
				if !(want == FullFault && got == FullFault) {
					t.Errorf("errno %d (%v) in %T: %d, want %d", n, n, err, got, want)
				}
			}
			if got := Passes(err); got != (want != LastingFault) {
				t.Errorf("errno %d (%v) in %T passes: %t", n, n, err, got)
			}
			wrapped := WithPassing(err)
			if errors.Is(wrapped, zodb.ErrDiskFull) != (want == FullFault) || errors.Is(wrapped, zodb.ErrScarce) != (want == ScarceFault) || !errors.Is(wrapped, n) {
				t.Errorf("errno %d (%v) in %T becomes %v", n, n, err, wrapped)
			}
			if again := WithPassing(fmt.Errorf("vote: %w", wrapped)); FaultOf(again) != want {
				t.Errorf("errno %d (%v) in %T: once more it is %v", n, n, err, again)
			}
		}
		if got, want := NotBegun(&fs.PathError{Op: "open", Path: "x", Err: n}), n == syscall.EMFILE || n == syscall.ENFILE; got != want {
			t.Errorf("errno %d (%v) not begun: %t", n, n, got)
		}
		if NotBegun(errors.Join(syscall.EMFILE, n)) != (n == syscall.EMFILE || n == syscall.ENFILE) {
			t.Errorf("errno %d (%v) hides behind another one", n, n)
		}
	}
}

func TestFaultOfOtherErrors(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		io.ErrUnexpectedEOF, context.Canceled, ErrNotSupported, errors.New("damage"), fs.ErrNotExist, &LockedError{},
		errors.Join(syscall.EMFILE, errors.New("damage")), fmt.Errorf("%w, and %w", syscall.ENOSPC, context.Canceled),
	} {
		if got := FaultOf(err); got != LastingFault {
			t.Errorf("%v: %d", err, got)
		}
		if WithPassing(err) != err {
			t.Errorf("%v becomes another one", err)
		}
	}
	if FaultOf(nil) != NoFault || Passes(nil) || NotBegun(nil) || WithPassing(nil) != nil {
		t.Error("no error is a fault")
	}
}
