// Package enginetest makes storages and commits to them, for the black-box tests of the
// engine and the tests of packages above it. A function that takes the test ends it where
// something fails, so it is called by the test's own goroutine.
package enginetest

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// EachFormat runs a parallel test twice: with a file for each revision, and with bundles. A short run
// has one of the two, the other one on the next day.
func EachFormat(t *testing.T, test func(t *testing.T, format string)) {
	t.Parallel()
	for _, format := range hometest.Today(t, hometest.OneOf(1, 1, 2), []string{"chunky", "bundled"}) {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			test(t, format)
		})
	}
}

// Home makes a HOME in a directory of the test and returns its path.
func Home(t testing.TB, o engine.CreateOptions) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	if err := engine.Create(home, o); err != nil {
		t.Fatal(err)
	}
	return home
}

// Open opens a storage. At the end of the test it is closed, if it is not before; a close
// that fails then is an error of the test.
func Open(t testing.TB, home string, o engine.Options) *engine.Storage {
	t.Helper()
	if testing.Short() && o.SegmentSize == 0 {
		o.SegmentSize = 1 << 20 // room for a segment costs time, in memory the most
	}
	s, err := engine.Open(context.WithoutCancel(t.Context()), home, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, zodb.ErrClosed) {
			t.Errorf("close %s: %v", home, err)
		}
	})
	return s
}

// Clean is that a check of a HOME finds nothing. The storage is closed, or stands still.
func Clean(t testing.TB, home string) {
	t.Helper()
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := checktest.Clean(context.WithoutCancel(t.Context()), dir); err != nil || sum.Files == 0 {
		t.Errorf("check of %s, %d files: %v", home, sum.Files, err)
	}
}

// Change is the change of one object by a transaction.
type Change struct {
	OID    zodb.OID
	Data   []byte   // nil: delete
	Blob   string   // not empty: with that blob
	Serial zodb.TID // its base; 0: the newest
}

// Options are those of a transaction.
type Options struct {
	Meta  zodb.TxnMeta
	Begin zodb.BeginOptions
}

// Record is the record of an object that refers to nothing, with a text.
func Record(text string) []byte {
	n := len(text)
	return []byte("\x80\x03cpersistent\nPersistent\n.\x80\x03X" + string([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}) + text + ".")
}

// BlobRecord is the record of an object that has a blob.
func BlobRecord() []byte { return []byte("\x80\x03cZODB.blob\nBlob\n.\x80\x03N.") }

// Voted begins a transaction, makes the changes and votes. The caller ends it.
func Voted(t testing.TB, s *engine.Storage, o Options, changes ...Change) zodb.Txn {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	txn, err := voted(ctx, s, o, changes...)
	if err != nil {
		t.Fatal(err)
	}
	return txn
}

// voted is a transaction with the changes that has voted. One that fails is aborted.
func voted(ctx context.Context, s *engine.Storage, o Options, changes ...Change) (zodb.Txn, error) {
	txn, err := s.Begin(ctx, o.Meta, o.Begin)
	if err != nil {
		return nil, err
	}
	if err = Fill(ctx, s, txn, changes...); err == nil {
		err = txn.Vote(ctx)
	}
	if err != nil {
		txn.Abort()
		return nil, err
	}
	return txn, nil
}

// Fill makes the changes in a transaction, up to the first that fails.
func Fill(ctx context.Context, s *engine.Storage, txn zodb.Txn, changes ...Change) error {
	for _, c := range changes {
		if err := c.apply(ctx, s, txn); err != nil {
			return err
		}
	}
	return nil
}

func (c Change) apply(ctx context.Context, s *engine.Storage, txn zodb.Txn) error {
	serial := c.Serial
	if serial == 0 {
		var err error
		if serial, err = s.Serial(ctx, c.OID); err != nil {
			return err
		}
	}
	switch {
	case c.Data == nil:
		return txn.Delete(c.OID, serial)
	case c.Blob != "":
		return txn.StoreBlob(c.OID, serial, c.Data, zodb.BlobSource{Reader: strings.NewReader(c.Blob)})
	}
	return txn.Store(c.OID, serial, c.Data)
}

// Commit commits the changes as one transaction.
func Commit(t testing.TB, s *engine.Storage, changes ...Change) zodb.TID {
	t.Helper()
	return CommitWith(t, s, Options{}, changes...)
}

// CommitWith is Commit with options.
func CommitWith(t testing.TB, s *engine.Storage, o Options, changes ...Change) zodb.TID {
	t.Helper()
	tid, err := Voted(t, s, o, changes...).Finish(context.WithoutCancel(t.Context()), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tid
}

// TryCommit is Commit for a test that looks at the failure.
func TryCommit(s *engine.Storage, meta zodb.TxnMeta, changes ...Change) (zodb.TID, error) {
	txn, err := voted(context.Background(), s, Options{Meta: meta}, changes...)
	if err != nil {
		return 0, err
	}
	return txn.Finish(context.Background(), nil)
}
