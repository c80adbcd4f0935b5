package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// failing is a storage that refuses to flush.
type failing struct {
	fake
	err error
}

func (f *failing) Flush(context.Context) error { return f.err }

// refusal is the error of a flush as a tool gets it from a storage that fails with err.
func refusal(t *testing.T, err error) error {
	t.Helper()
	home, _ := serve(t, &failing{err: err})
	c, derr := Dial(t.Context(), home)
	if derr != nil {
		t.Fatal(derr)
	}
	defer c.Close()
	got := c.Flush(t.Context())
	if refused, ok := errors.AsType[*RefusedError](got); !ok || refused.Reason != err.Error() {
		t.Fatalf("%v came as %v", err, got)
	}
	return got
}

// TestCausesKeepTheirTypes: the errors on which a tool branches are the same for a storage of
// another process.
func TestCausesKeepTheirTypes(t *testing.T) {
	t.Parallel()
	denied := &fs.PathError{Op: "open", Path: "/srv/A/1", Err: syscall.EACCES}
	for name, sent := range map[string]error{
		"no permission":     fmt.Errorf("flush: %w", denied),
		"in a broken one":   &zodb.BrokenError{OID: 5, Err: denied},
		"joined":            errors.Join(errors.New("other"), fmt.Errorf("x: %w", denied)),
		"read-only":         &fs.PathError{Op: "open", Path: "/srv/A/1", Err: syscall.EROFS},
		"a link":            &os.LinkError{Op: "link", Old: "/srv/a", New: "/srv/b", Err: syscall.ENOSPC},
		"without a path":    os.NewSyscallError("accept", syscall.EMFILE),
		"locked":            fmt.Errorf("sublock: %w", vfs.ErrLocked),
		"full":              vfs.WithPassing(&fs.PathError{Op: "write", Path: "/srv/log", Err: syscall.ENOSPC}),
		"scarce":            vfs.WithPassing(syscall.EMFILE),
		"of snapshot mode":  fmt.Errorf("enter: %w", zodb.ErrSnapshotMode),
		"a failed storage":  &zodb.FailedError{Cause: denied},
		"closed":            fmt.Errorf("pack: %w", zodb.ErrClosed),
		"not supported":     zodb.ErrUnsupported,
		"nothing but words": errors.New("permission denied: full, locked"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := refusal(t, sent)
			for _, target := range []error{
				fs.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.EMFILE, vfs.ErrLocked, zodb.ErrDiskFull, zodb.ErrScarce,
				zodb.ErrReadOnly, zodb.ErrSnapshotMode, zodb.ErrUnsupported, zodb.ErrClosed,
			} {
				if errors.Is(got, target) != errors.Is(sent, target) {
					t.Errorf("matches %v: %t, sent was %t", target, errors.Is(got, target), errors.Is(sent, target))
				}
			}
			here, ok := errors.AsType[*fs.PathError](got)
			if there, sentOne := errors.AsType[*fs.PathError](sent); sentOne && (!ok || *here != *there) || !sentOne && ok && name != "a link" {
				t.Errorf("path error %v, sent was %v", here, there)
			}
			broken, ok := errors.AsType[*zodb.BrokenError](got)
			if there, sentOne := errors.AsType[*zodb.BrokenError](sent); ok != sentOne || ok && (broken.OID != there.OID || broken.Error() != there.Error()) {
				t.Errorf("broken %v, sent was %v", broken, there)
			}
		})
	}
}

// TestManyCausesAreCut: an error that joins thousands is no answer of megabytes.
func TestManyCausesAreCut(t *testing.T) {
	t.Parallel()
	var all []error
	for i := range 10_000 {
		all = append(all, &fs.PathError{Op: "open", Path: fmt.Sprint("/srv/", i), Err: syscall.EACCES})
	}
	if n := len(causesOf(errors.Join(all...))); n != maxCauses {
		t.Errorf("%d causes", n)
	}
}

// TestAnswersOfOtherReleasesAreUnderstood: a server from before there were causes has two flags,
// and one of a later release may have causes that this one does not know.
func TestAnswersOfOtherReleasesAreUnderstood(t *testing.T) {
	t.Parallel()
	if e := refused(response{Error: "x", Locked: true}); !errors.Is(e, vfs.ErrLocked) || errors.Is(e, zodb.ErrDiskFull) {
		t.Error(e.Causes)
	}
	if e := refused(response{Error: "x", Full: true}); !errors.Is(e, zodb.ErrDiskFull) || errors.Is(e, vfs.ErrLocked) {
		t.Error(e.Causes)
	}
	e := refused(response{Error: "of tomorrow", Causes: []cause{{Kind: "tomorrow"}, {Kind: kindBroken}, {Kind: "locked"}}})
	if len(e.Causes) != 1 || !errors.Is(e, vfs.ErrLocked) || !strings.HasSuffix(e.Error(), "of tomorrow") {
		t.Error(e, e.Causes)
	}
}
