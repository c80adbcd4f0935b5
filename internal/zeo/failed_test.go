package zeo

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// short is a storage that lacks something at present. Methods without an error work.
type short struct {
	zodb.Storage
	open, write, read, blob error // of its scratch files, and of BeginBlob
}

func (s *short) Scratch() (zodb.Scratch, error) {
	if s.open != nil {
		return nil, s.open
	}
	f, err := s.Storage.Scratch()
	return &shortScratch{f, s}, err
}

func (s *short) Begin(ctx context.Context, m zodb.TxnMeta, o zodb.BeginOptions) (zodb.Txn, error) {
	t, err := s.Storage.Begin(ctx, m, o)
	return &shortTxn{t, s}, err
}

type shortScratch struct {
	zodb.Scratch
	s *short
}

func (f *shortScratch) WriteAt(b []byte, at int64) (int, error) {
	if f.s.write != nil {
		return 0, f.s.write
	}
	return f.Scratch.WriteAt(b, at)
}

func (f *shortScratch) ReadAt(b []byte, at int64) (int, error) {
	if f.s.read != nil {
		return 0, f.s.read
	}
	return f.Scratch.ReadAt(b, at)
}

type shortTxn struct {
	zodb.Txn
	s *short
}

func (t *shortTxn) BeginBlob() (zodb.BlobWriter, error) {
	if t.s.blob != nil {
		return nil, t.s.blob
	}
	return t.Txn.BeginBlob()
}

// scratchFiles returns the files of steps and records of open transactions.
func scratchFiles(t *testing.T, home string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(home, "journal", "spool-*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// shortServer is a turnServer before a storage that lacks something.
func shortServer(t *testing.T, s *short) *testServer {
	t.Helper()
	s.Storage = newStorage(t, memoryHome(t))
	return serve(t, Options{Limits: Limits{Memory: 4 << 20, Files: 256, Connections: 20}, Storages: []StorageOptions{{Name: "1", Storage: s}}})
}

// TestFailedTransactionsKeepNoFiles: clients that do not abort a large transaction which has failed
// before its vote leave the files for large transactions to others.
func TestFailedTransactionsKeepNoFiles(t *testing.T) {
	t.Parallel()
	ts := turnServer(t)
	spools := ts.budgets.spools.Free()
	for range spools {
		c := ts.client(wire.Msgpack)
		c.begin(mine)
		for i := range zodb.OID(2) {
			c.oneWay("storea", i, zodb.TID(0), largeRecord(int(ts.budgets.spool)), mine)
		}
		c.oneWay("storea", zodb.OID(1), zodb.TID(0), "no bytes", mine)
		c.call("ping")
	}
	if free := ts.budgets.spools.Free(); free != spools {
		t.Errorf("%d of %d large transactions may begin beside some that have failed", free, spools)
	}
}

// TestBlobThatCannotBeginEndsItsTurn: a client that says no more behind it holds nothing.
func TestBlobThatCannotBeginEndsItsTurn(t *testing.T) {
	t.Parallel()
	ts := shortServer(t, &short{blob: zodb.ErrDiskFull})
	free := ts.budgets.free()
	c := ts.client(wire.Msgpack)
	c.storeMany(mine, 1<<40, 3000)
	c.oneWay("storeBlobStart")
	c.call("ping")
	if got := ts.budgets.free(); got != free {
		t.Errorf("of %v there is %v", free, got)
	}
	if _, x := ts.budgets.large.whose(); x != nil {
		t.Error("it has the turn")
	}
	c.oneWay("storeBlobChunk", []byte("x"))
	c.oneWay("storeBlobEnd", zodb.OID(1), zodb.TID(0), record("x"), mine)
	c.fails(classStorage, "vote", mine)
	c.call("tpc_abort", mine)
	if got := ts.budgets.free(); got != free {
		t.Errorf("in the end there is %v of %v", got, free)
	}
}

// TestStepsThatCannotBeParked: the client is told why at its vote, and everything is given back.
func TestStepsThatCannotBeParked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		s    short
		want string
	}{
		{"no file", short{open: syscall.EMFILE}, "too many open files"},
		{"no room for a file", short{open: zodb.ErrDiskFull}, "disk"},
		{"no room", short{write: syscall.ENOSPC}, "no space left"},
		{"bad disk", short{write: syscall.EIO}, "put the steps of a large transaction aside"},
		{"cannot be read back", short{read: syscall.EIO}, "that were put aside"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ts := shortServer(t, &tc.s)
			free := ts.budgets.free()
			a, b := ts.client(wire.Msgpack), ts.client(wire.Msgpack)
			a.storeMany(mine, 1<<40, 3000)
			b.storeMany(mine, 1<<41, 3000)
			vote := b.request("vote", mine)
			a.call("tpc_abort", mine)
			_, err := b.wait(vote)
			if err == nil || !strings.Contains(fmt.Sprint(err), tc.want) {
				t.Errorf("told %v", err)
			}
			b.call("tpc_abort", mine)
			if got := ts.budgets.free(); got != free {
				t.Errorf("of %v there is %v", free, got)
			}
			a.commit(1, 0, "alone")
			b.commit(2, 0, "alone")
			if left := scratchFiles(t, ts.order[0].storage.Home()); len(left) > 0 {
				t.Errorf("%v stays behind", left)
			}
		})
	}
}
