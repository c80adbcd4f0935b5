package transfer

import (
	"context"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestExportSkipsDamageOnly: a passing error, or one of the export, must not leave a
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
		{zodb.ErrClosed, false},
	} {
		ex := exporter{o: ExportOptions{SkipBroken: true}}
		if got := ex.skip(context.Background(), Broken{}, tc.err); got != tc.want || ex.result.Broken > 0 != tc.want {
			t.Errorf("%v: left out: %v", tc.err, got)
		}
	}
}

// TestSalvageSkipsDamageOnly: a server that has no descriptor left, or ends, says nothing
// about a record.
func TestSalvageSkipsDamageOnly(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		class   string
		details any
		want    bool
	}{
		{"ZODB.POSException.StorageSystemError", wire.Tuple{"corrupt data"}, true},
		{"ZODB.POSException.POSKeyError", wire.Tuple{[]byte("01234567")}, true},
		{"ZODB.FileStorage.format.CorruptedDataError", wire.Tuple{}, true},
		{"builtins.OSError", wire.Tuple{int64(syscall.EIO), "Input/output error"}, true},
		{"builtins.OSError", wire.Tuple{}, true},
		{"builtins.OSError", wire.Tuple{int64(syscall.EMFILE), "Too many open files"}, false},
		{"builtins.MemoryError", wire.Tuple{}, false},
		{"ZODB.POSException.StorageError", wire.Tuple{"the storage is closed"}, false},
	} {
		im := importer{salvage: true}
		if got := im.skips(1, fmt.Errorf("record: %w", &zeoclient.ServerError{Class: tc.class, Details: tc.details})); got != tc.want || im.result.Damaged > 0 != tc.want {
			t.Errorf("%s %v: left out: %v", tc.class, tc.details, got)
		}
	}
}
