package vfs_test

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

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// full and scarce are all passing faults; all others last.
var (
	full   = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT}
	scarce = []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR}
)

func TestFaultOfEveryErrno(t *testing.T) {
	t.Parallel()
	for n := syscall.Errno(1); n < 256; n++ {
		want := vfs.LastingFault
		if slices.Contains(full, n) {
			want = vfs.FullFault
		}
		if slices.Contains(scarce, n) {
			want = vfs.ScarceFault
		}
		for _, err := range []error{
			n, &fs.PathError{Op: "open", Path: "x", Err: n}, &os.LinkError{Op: "rename", Err: n}, os.NewSyscallError("open", n),
			fmt.Errorf("flush: %w", n), errors.Join(n, nil), errors.Join(syscall.ENOSPC, n), fmt.Errorf("%w, %w", n, syscall.ENOSPC),
		} {
			if got := vfs.FaultOf(err); got != want {
				// Beside “no room”, an error for lack of something else says that; and a lasting one lasts.
				if !(want == vfs.FullFault && got == vfs.FullFault) {
					t.Errorf("errno %d (%v) in %T: %d, want %d", n, n, err, got, want)
				}
			}
			if got := vfs.Passes(err); got != (want != vfs.LastingFault) {
				t.Errorf("errno %d (%v) in %T passes: %t", n, n, err, got)
			}
			wrapped := vfs.WithPassing(err)
			if errors.Is(wrapped, zodb.ErrDiskFull) != (want == vfs.FullFault) || errors.Is(wrapped, zodb.ErrScarce) != (want == vfs.ScarceFault) || !errors.Is(wrapped, n) {
				t.Errorf("errno %d (%v) in %T becomes %v", n, n, err, wrapped)
			}
			if again := vfs.WithPassing(fmt.Errorf("vote: %w", wrapped)); vfs.FaultOf(again) != want {
				t.Errorf("errno %d (%v) in %T: once more it is %v", n, n, err, again)
			}
		}
		if got, want := vfs.NotBegun(&fs.PathError{Op: "open", Path: "x", Err: n}), n == syscall.EMFILE || n == syscall.ENFILE; got != want {
			t.Errorf("errno %d (%v) not begun: %t", n, n, got)
		}
		if vfs.NotBegun(errors.Join(syscall.EMFILE, n)) != (n == syscall.EMFILE || n == syscall.ENFILE) {
			t.Errorf("errno %d (%v) hides behind another one", n, n)
		}
	}
}

func TestFaultOfOtherErrors(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		io.ErrUnexpectedEOF, context.Canceled, vfs.ErrNotSupported, errors.New("damage"), fs.ErrNotExist, &vfs.LockedError{},
		errors.Join(syscall.EMFILE, errors.New("damage")), fmt.Errorf("%w, and %w", syscall.ENOSPC, context.Canceled),
	} {
		if got := vfs.FaultOf(err); got != vfs.LastingFault {
			t.Errorf("%v: %d", err, got)
		}
		if vfs.WithPassing(err) != err {
			t.Errorf("%v becomes another one", err)
		}
	}
	if vfs.FaultOf(nil) != vfs.NoFault || vfs.Passes(nil) || vfs.NotBegun(nil) || vfs.WithPassing(nil) != nil {
		t.Error("no error is a fault")
	}
}
