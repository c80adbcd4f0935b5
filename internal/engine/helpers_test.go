package engine

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// The files of a pack in misc/.
const (
	planFile   = "misc/pack"
	sparedFile = "misc/pack-spared"
	planAside  = "misc/pack-new"
)

// newHome creates a HOME and returns its path.
func newHome(t testing.TB, o CreateOptions) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	if o.Format == "" {
		o.Format = testFormat(t)
		if o.Class == zodb.ClassMinimal {
			o.Format = "bushy" // bundled does not have it
		}
	}
	if err := Create(home, o); err != nil {
		t.Fatal(err)
	}
	return home
}

// open opens a storage that is closed at the end of the test, if it is not before.
func open(t testing.TB, home string, o Options) *Storage {
	t.Helper()
	if o.SegmentSize == 0 {
		o.SegmentSize = 64 << 10
	}
	if o.RetryInterval == 0 {
		o.RetryInterval = 5 * time.Millisecond
	}
	s, err := Open(context.Background(), home, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newStorage(t testing.TB, o Options) *Storage {
	t.Helper()
	return open(t, newHome(t, CreateOptions{}), o)
}

// rec is [pickletest.Record].
func rec(text string, refs ...zodb.OID) []byte { return pickletest.Record(text, refs...) }

// change is the work of a test transaction on one object.
type change struct {
	oid    zodb.OID
	data   []byte // nil: delete
	blob   string // not empty: with that blob
	serial zodb.TID
}

// commit commits changes, each based on the current serial unless one is given.
func commit(t testing.TB, s *Storage, changes ...change) zodb.TID {
	t.Helper()
	tid, err := tryCommit(s, zodb.TxnMeta{User: []byte("tester")}, changes...)
	if err != nil {
		t.Fatal(err)
	}
	return tid
}

func tryCommit(s *Storage, meta zodb.TxnMeta, changes ...change) (zodb.TID, error) {
	ctx := context.Background()
	txn, err := s.txns.Begin(ctx, meta, zodb.BeginOptions{})
	if err != nil {
		return 0, err
	}
	if err := fill(s, txn, changes...); err != nil {
		txn.Abort()
		return 0, err
	}
	if err := txn.Vote(ctx); err != nil {
		txn.Abort()
		return 0, err
	}
	return txn.Finish(ctx, nil)
}

func fill(s *Storage, txn *txn.Txn, changes ...change) error {
	for _, c := range changes {
		serial := c.serial
		if serial == 0 {
			var err error
			if serial, err = s.Serial(context.Background(), c.oid); err != nil {
				return err
			}
		}
		var err error
		switch {
		case c.data == nil:
			err = txn.Delete(c.oid, serial)
		case c.blob != "":
			err = txn.StoreBlob(c.oid, serial, c.data, zodb.BlobSource{Reader: strings.NewReader(c.blob)})
		default:
			err = txn.Store(c.oid, serial, c.data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func load(t testing.TB, s *Storage, oid zodb.OID) string {
	t.Helper()
	r, err := s.Load(t.Context(), oid)
	if err != nil {
		t.Fatal(err)
	}
	return string(r.Data)
}

func readBlob(t testing.TB, s *Storage, oid zodb.OID, tid zodb.TID) string {
	t.Helper()
	b, err := s.OpenBlob(t.Context(), oid, tid)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	data, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// tids returns the tids of all transactions, oldest first.
func tids(t testing.TB, s *Storage) []zodb.TID {
	t.Helper()
	var list []zodb.TID
	for txn, err := range s.Transactions(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, txn.TID)
	}
	if !slices.IsSorted(list) {
		t.Fatalf("transactions are not in order: %v", list)
	}
	return list
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// pathOf returns the path, relative to HOME, of a database name on one side.
func pathOf(s *Storage, side store.Side, n layout.Name) string {
	return string(side) + "/" + s.home.Settings.Structure.Format.Path(n)
}

// changingDisk says how much is free as it is told.
type changingDisk struct {
	vfs.FS
	free atomic.Uint64
}

func (d *changingDisk) Space() (vfs.Space, error) {
	return vfs.Space{TotalBytes: 100 << 30, FreeBytes: d.free.Load()}, nil
}

// fileOfA returns the path of a file in A of a HOME in format bushy.
func fileOfA(t testing.TB, home string, n layout.Name) string {
	t.Helper()
	format, err := layout.ParseFormat("bushy")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(home, "A", format.Path(n))
}

// contentOf returns the content of every file below a directory, by its name.
func contentOf(t *testing.T, f vfs.FS, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for name, err := range vfs.Walk(f, dir) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	hometest.Eventually(t, what, holds)
}

func snapshotContent(home string) string {
	b, err := os.ReadFile(filepath.Join(home, snapshotFile))
	if err != nil {
		return "none"
	}
	return string(b)
}

// inEveryPlace runs a test with its data in the log, in A, and in B.
func inEveryPlace(t *testing.T, test func(t *testing.T, settle func(s *Storage))) {
	places := map[string]func(t *testing.T, s *Storage){
		"log": func(*testing.T, *Storage) {},
		"A": func(t *testing.T, s *Storage) {
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"B": func(t *testing.T, s *Storage) {
			err := s.EnterSnapshot(t.Context(), "test")
			if err != nil && !errors.Is(err, zodb.ErrSnapshotMode) {
				t.Fatal(err)
			}
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, settle := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(s *Storage) { settle(t, s) })
		})
	}
}

// undo takes transactions back in one transaction.
func undo(t *testing.T, s *Storage, list ...zodb.TID) (zodb.TID, error) {
	t.Helper()
	txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Abort()
	for _, tid := range list {
		if _, err := txn.Undo(t.Context(), tid); err != nil {
			return 0, err
		}
	}
	if err := txn.Vote(t.Context()); err != nil {
		return 0, err
	}
	return txn.Finish(t.Context(), nil)
}
