package transfer

import (
	"context"
	"io/fs"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestExportSkipsDamageOnly: what passes, or has to do with the export, must not leave a
// sound record out.
func TestExportSkipsDamageOnly(t *testing.T) {
	t.Parallel()
	opening := func(e error) error { return &fs.PathError{Op: "open", Path: "A/x", Err: e} }
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{&zodb.CorruptError{Path: "A/x", Reason: "it is short"}, true},
		{zodb.ErrNotFound, true},
		{opening(syscall.EIO), true},
		{opening(syscall.EMFILE), false},
		{opening(syscall.ENFILE), false},
		{opening(syscall.ENOMEM), false},
		{dirstorage.ErrClosed, false},
	} {
		ex := exporter{o: ExportOptions{SkipBroken: true}}
		if got := ex.skip(context.Background(), Broken{}, tc.err); got != tc.want || ex.result.Broken > 0 != tc.want {
			t.Errorf("%v: left out: %v", tc.err, got)
		}
	}
}
