package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestNewStorageIsEmpty(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	if got := s.LastTransaction(); got != 0 {
		t.Errorf("last transaction %s, want 0", got)
	}
	if _, err := s.Load(t.Context(), 0); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("load of the root: %v, want not found", err)
	}
	if got := tids(t, s); len(got) != 0 {
		t.Errorf("transactions %v, want none", got)
	}
	if got := s.Counts(); got != (zodb.Counts{Exact: true}) {
		t.Errorf("counts %+v, want zero and exact", got)
	}
	oids, err := s.NewOIDs(3)
	if err != nil || !slices.Equal(oids, []zodb.OID{1, 2, 3}) {
		t.Errorf("new oids %v, %v; want 1 2 3", oids, err)
	}
}

// inEveryPlace runs a test with what was committed in the log, in A, and in B.
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

func TestRevisionsAreReadWhereverTheyAre(t *testing.T) {
	t.Parallel()
	inEveryPlace(t, func(t *testing.T, settle func(*Storage)) {
		s := newStorage(t, Options{})
		ctx := t.Context()
		settle(s)
		t1 := commit(t, s, change{oid: 0, data: rec("one")}, change{oid: 7, data: rec("other"), blob: "blob one"})
		settle(s)
		t2 := commit(t, s, change{oid: 0, data: rec("two")})
		settle(s)
		t3 := commit(t, s, change{oid: 0, data: nil})
		t4 := commit(t, s, change{oid: 0, data: rec("four")}, change{oid: 7, data: rec("other 2"), blob: "blob four"})
		settle(s)

		if got := load(t, s, 0); got != string(rec("four")) {
			t.Errorf("current data %q", got)
		}
		for _, tc := range []struct {
			before zodb.TID
			want   string // "" = none, "gone" = KeyError
			serial zodb.TID
			end    zodb.TID
		}{
			{t1, "", 0, 0},
			{t1 + 1, "one", t1, t2},
			{t2, "one", t1, t2},
			{t3, "two", t2, t3},
			{t4, "gone", 0, 0},
			{t4 + 1, "four", t4, 0},
			{zodb.MaxTID, "four", t4, 0},
		} {
			r, err := s.LoadBefore(ctx, 0, tc.before)
			switch {
			case tc.want == "gone":
				if !errors.Is(err, zodb.ErrNotFound) {
					t.Errorf("before %s: %v, want not found", tc.before, err)
				}
			case err != nil:
				t.Errorf("before %s: %v", tc.before, err)
			case tc.want == "":
				if r != nil {
					t.Errorf("before %s: got %+v, want none", tc.before, r)
				}
			case r == nil || string(r.Data) != string(rec(tc.want)) || r.Serial != tc.serial || r.End != tc.end:
				t.Errorf("before %s: got %+v, want %q %s %s", tc.before, r, tc.want, tc.serial, tc.end)
			}
		}
		for tid, want := range map[zodb.TID]string{t1: "one", t2: "two", t4: "four"} {
			if got, err := s.LoadSerial(ctx, 0, tid); err != nil || string(got) != string(rec(want)) {
				t.Errorf("serial %s: %q, %v", tid, got, err)
			}
		}
		if _, err := s.LoadSerial(ctx, 0, t3); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("serial of the deletion: %v", err)
		}
		if got := readBlob(t, s, 7, t1); got != "blob one" {
			t.Errorf("old blob %q", got)
		}
		if got := readBlob(t, s, 7, t4); got != "blob four" {
			t.Errorf("new blob %q", got)
		}
		if _, err := s.OpenBlob(ctx, 0, t4); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("blob of an object without one: %v", err)
		}
		if got, want := tids(t, s), []zodb.TID{t1, t2, t3, t4}; !slices.Equal(got, want) {
			t.Errorf("transactions %v, want %v", got, want)
		}
		h, err := s.History(ctx, 0, 10)
		if err != nil || len(h) != 4 || h[0].TID != t4 || h[1].Exists || h[3].TID != t1 || string(h[3].Meta.User) != "tester" {
			t.Errorf("history %+v, %v", h, err)
		}
		recent, err := s.RecentTransactions(ctx, 2)
		if err != nil || len(recent) != 2 || recent[0].TID != t4 || !slices.Equal(recent[0].OIDs, []zodb.OID{0, 7}) {
			t.Errorf("recent transactions %+v, %v", recent, err)
		}
		got := s.Counts()
		if got.Objects != 2 || got.Revisions != 6 || got.Transactions != 4 || got.BlobBytes != 17 || !got.Exact {
			t.Errorf("counts %+v", got)
		}
	})
}

func TestEverythingSurvivesCloseAndOpen(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	t1 := commit(t, s, change{oid: 1, data: rec("one"), blob: "content"})
	before := s.Counts()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(filepath.Join(home, "journal")); len(entries) != 0 {
		t.Errorf("journal holds %v after a clean close", entries)
	}
	if b, _ := os.ReadFile(filepath.Join(home, "misc", "snapshot")); string(b) != "shutdown" {
		t.Errorf("misc/snapshot holds %q after a clean close", b)
	}
	s = open(t, home, Options{})
	if got := load(t, s, 1); got != string(rec("one")) {
		t.Errorf("data %q", got)
	}
	if got := readBlob(t, s, 1, t1); got != "content" {
		t.Errorf("blob %q", got)
	}
	if got := s.Counts(); got != before {
		t.Errorf("counts %+v, before %+v", got, before)
	}
	if oids, err := s.NewOIDs(1); err != nil || oids[0] != 2 {
		t.Errorf("new oid %v, %v; want 2", oids, err)
	}
	if _, err := os.Stat(filepath.Join(home, "misc", "snapshot")); !os.IsNotExist(err) {
		t.Errorf("misc/snapshot is there in an open storage: %v", err)
	}
}

func TestConflictNamesBothSerials(t *testing.T) {
	t.Parallel()
	inEveryPlace(t, func(t *testing.T, settle func(*Storage)) {
		s := newStorage(t, Options{})
		t1 := commit(t, s, change{oid: 1, data: rec("a")})
		t2 := commit(t, s, change{oid: 1, data: rec("b")})
		settle(s)
		_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("c"), serial: t1})
		c, ok := errors.AsType[*zodb.ConflictsError](err)
		if !ok || len(c.Conflicts) != 1 {
			t.Fatalf("got %v, want one conflict", err)
		}
		if got := *c.Conflicts[0]; got != (zodb.ConflictError{OID: 1, Serial: t1, Current: t2}) {
			t.Errorf("got %+v", got)
		}
		if !errors.Is(err, zodb.ErrConflict) {
			t.Errorf("%v does not match ErrConflict", err)
		}
		if got := s.txns.Report().HeldLocks; got != 0 {
			t.Errorf("%d locks are held after abort", got)
		}
	})
}

func TestConflictKeepsLocksUntilNextVote(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	ctx := t.Context()
	t1 := commit(t, s, change{oid: 1, data: rec("a")})
	t2 := commit(t, s, change{oid: 1, data: rec("b")})
	txn, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Abort()
	if err := txn.Store(1, t1, rec("c")); err != nil {
		t.Fatal(err)
	}
	if err := txn.Vote(ctx); !errors.Is(err, zodb.ErrConflict) {
		t.Fatalf("vote: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("intruder"), serial: t2})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("another writer passed between two votes: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := txn.Store(1, t2, rec("resolved")); err != nil {
		t.Fatal(err)
	}
	if err := txn.Vote(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Finish(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, zodb.ErrConflict) {
		t.Errorf("the other writer: %v, want a conflict", err)
	}
	if got := load(t, s, 1); got != string(rec("resolved")) {
		t.Errorf("data %q", got)
	}
}

func TestCheckCurrentHoldsUntilFinish(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	ctx := t.Context()
	t1 := commit(t, s, change{oid: 1, data: rec("a")})
	t2 := commit(t, s, change{oid: 1, data: rec("b")})
	for name, tc := range map[string]struct {
		serial zodb.TID
		want   error
	}{"current": {t2, nil}, "old": {t1, zodb.ErrConflict}, "none": {0, zodb.ErrConflict}} {
		txn, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := txn.CheckCurrent(1, tc.serial); err != nil {
			t.Fatal(err)
		}
		err = txn.Vote(ctx)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: vote says %v", name, err)
		}
		if c, ok := errors.AsType[*zodb.ConflictsError](err); ok && !c.Conflicts[0].Read {
			t.Errorf("%s: not marked as a read conflict", name)
		}
		txn.Abort()
	}
}

func TestDanglingReferenceIsRefusedAtVote(t *testing.T) {
	t.Parallel()
	inEveryPlace(t, func(t *testing.T, settle func(*Storage)) {
		s := newStorage(t, Options{})
		commit(t, s, change{oid: 1, data: rec("target")}, change{oid: 2, data: rec("doomed")})
		commit(t, s, change{oid: 2, data: nil})
		settle(s)
		for name, tc := range map[string]struct {
			changes []change
			want    error
		}{
			"to an object":             {[]change{{oid: 10, data: rec("x", 1)}}, nil},
			"to one never stored":      {[]change{{oid: 11, data: rec("x", 99)}}, zodb.ErrDangling},
			"to a deleted one":         {[]change{{oid: 12, data: rec("x", 2)}}, zodb.ErrDangling},
			"to one stored with it":    {[]change{{oid: 13, data: rec("x", 14)}, {oid: 14, data: rec("y", 13)}}, nil},
			"to one deleted with it":   {[]change{{oid: 15, data: rec("x", 1)}, {oid: 1, data: nil}}, zodb.ErrDangling},
			"to one deleted with it 2": {[]change{{oid: 1, data: nil}, {oid: 15, data: rec("x", 1)}}, zodb.ErrDangling},
		} {
			last := s.LastTransaction()
			_, err := tryCommit(s, zodb.TxnMeta{}, tc.changes...)
			if !errors.Is(err, tc.want) {
				t.Errorf("%s: %v", name, err)
			}
			if tc.want != nil && s.LastTransaction() != last {
				t.Errorf("%s: something was committed", name)
			}
		}
	})
}

func TestReferenceAndDeletionCannotPassEachOther(t *testing.T) {
	t.Parallel()
	for range 20 {
		s := newStorage(t, Options{NoControlSocket: true})
		commit(t, s, change{oid: 1, data: rec("target")})
		var wait sync.WaitGroup
		var refErr, delErr error
		wait.Go(func() { _, refErr = tryCommit(s, zodb.TxnMeta{}, change{oid: 2, data: rec("x", 1)}) })
		wait.Go(func() { _, delErr = tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: nil}) })
		wait.Wait()
		// A deletion is not refused; but a reference that comes after it is.
		if delErr != nil {
			t.Fatal(delErr)
		}
		gone := s.LastTransaction()
		if refErr == nil {
			h, err := s.History(t.Context(), 1, 1)
			if err != nil {
				t.Fatal(err)
			}
			if r, _ := s.Load(t.Context(), 2); r.Serial > h[0].TID {
				t.Fatalf("a reference was committed at %s, after the deletion at %s", r.Serial, h[0].TID)
			}
		} else if !errors.Is(refErr, zodb.ErrDangling) {
			t.Fatal(refErr, gone)
		}
		s.Close()
	}
}

func TestFinishPublishesInOrderOfTIDs(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	ctx := t.Context()
	var mu sync.Mutex
	var seen []zodb.TID
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			for i := range 25 {
				txn, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				oid := zodb.OID(g + 1)
				serial, _ := s.Serial(ctx, oid)
				if err := errors.Join(txn.Store(oid, serial, rec(fmt.Sprint(i))), txn.Vote(ctx)); err != nil {
					t.Error(err)
					return
				}
				tid, err := txn.Finish(ctx, func(tid zodb.TID) {
					mu.Lock()
					defer mu.Unlock()
					seen = append(seen, tid)
				})
				if err != nil {
					t.Error(err)
					return
				}
				if r, err := s.Load(ctx, oid); err != nil || r.Serial != tid {
					t.Errorf("object %s after finish of %s: %s, %v", oid, tid, r.Serial, err)
				}
			}
		})
	}
	wait.Wait()
	if !slices.IsSorted(seen) || len(seen) != 200 {
		t.Errorf("%d callbacks, sorted: %v", len(seen), slices.IsSorted(seen))
	}
	if got := tids(t, s); !slices.Equal(got, seen) {
		t.Errorf("transactions are not those announced")
	}
}

// TestDeleteOfWhatWasNeverStored is no conflict, whatever the serial, since nothing that
// the caller could store would resolve it. An object that was deleted has a revision.
func TestDeleteOfWhatWasNeverStored(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	ctx := t.Context()
	first := commit(t, s, change{oid: 1, data: rec("root")}, change{oid: 2, data: rec("goes")})
	second := commit(t, s, change{oid: 2, serial: first})
	for _, tc := range []struct {
		name     string
		oid      zodb.OID
		serial   zodb.TID
		conflict bool
	}{
		{"never stored, no serial", 77, 0, false},
		{"never stored, a serial", 77, first, false},
		{"never stored, a serial of the future", 77, state.LatestTID, false},
		{"changed meanwhile", 1, first - 1, true},
		{"deleted meanwhile", 2, first, true},
		{"deleted, no serial", 2, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			txn, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer txn.Abort()
			if err := errors.Join(txn.Store(1, 0, rec("a conflict beside it")), txn.Delete(tc.oid, tc.serial)); err != nil {
				t.Fatal(err)
			}
			err = txn.Vote(ctx)
			key, isKey := errors.AsType[*zodb.KeyError](err)
			_, isConflict := errors.AsType[*zodb.ConflictsError](err)
			if isConflict != tc.conflict || isKey == tc.conflict || isKey && key.OID != tc.oid {
				t.Errorf("got %v, want a conflict: %v", err, tc.conflict)
			}
		})
	}
	if got := s.LastTransaction(); got != second {
		t.Errorf("the last transaction is %s, want %s", got, second)
	}
}

func TestGivenTIDMustBeLater(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	ctx := t.Context()
	given := zodb.TIDFromTime(at("2001-02-03T04:05:06Z"))
	copyOne := func(tid zodb.TID) error {
		txn, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
		if err != nil {
			return err
		}
		defer txn.Abort()
		if err := txn.Restore(ctx, zodb.Record{OID: 5, TID: tid, Data: rec(tid.String()), Exists: true}, nil); err != nil {
			return err
		}
		if err := txn.Vote(ctx); err != nil {
			return err
		}
		_, err = txn.Finish(ctx, nil)
		return err
	}
	if err := copyOne(given); err != nil {
		t.Fatal(err)
	}
	if got := s.LastTransaction(); got != given {
		t.Errorf("last transaction %s, want the given %s", got, given)
	}
	for name, tid := range map[string]zodb.TID{"same": given, "earlier": given - 1} {
		if err := copyOne(tid); err == nil || s.LastTransaction() != given {
			t.Errorf("%s tid: %v, last is %s", name, err, s.LastTransaction())
		}
	}
	if err := copyOne(given + 1); err != nil {
		t.Errorf("a later one: %v", err)
	}
}

func TestSecondProcessIsToldWhoHoldsTheStorage(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	open(t, home, Options{})
	_, err := Open(t.Context(), home, Options{})
	if !errors.Is(err, zodb.ErrLocked) {
		t.Fatalf("got %v, want locked", err)
	}
	if want := fmt.Sprint(os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not name pid %s", err, want)
	}
}

func TestReadOnlyOpenWorksBesideARunningStorage(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	commit(t, s, change{oid: 1, data: rec("flushed")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	t2 := commit(t, s, change{oid: 1, data: rec("in the log")})
	r := open(t, home, Options{ReadOnly: true})
	if got := load(t, r, 1); got != string(rec("in the log")) {
		t.Errorf("data %q", got)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 50 { // the log's places are used again
		commit(t, s, change{oid: 2, data: rec(fmt.Sprint(i, strings.Repeat("x", 4000)))})
	}
	if got := load(t, r, 1); got != string(rec("in the log")) {
		t.Errorf("data %q after the other process flushed", got)
	}
	if got := r.LastTransaction(); got != t2 {
		t.Errorf("last transaction %s, want %s", got, t2)
	}
	if _, err := r.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{}); !errors.Is(err, zodb.ErrReadOnly) {
		t.Errorf("begin: %v", err)
	}
}

func TestReplacedHomeIsNoticed(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(t *testing.T, home string){
		"lock file removed": func(t *testing.T, home string) {
			if err := os.Remove(filepath.Join(home, "misc", "lock")); err != nil {
				t.Fatal(err)
			}
		},
		"directory replaced": func(t *testing.T, home string) {
			if err := os.Rename(home, home+".old"); err != nil {
				t.Fatal(err)
			}
			if err := Create(home, CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"directory moved away": func(t *testing.T, home string) {
			if err := os.Rename(home, home+".old"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := newHome(t, CreateOptions{})
			s := open(t, home, Options{})
			commit(t, s, change{oid: 1, data: rec("a")})
			replace(t, home)
			_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 2, data: rec("b")})
			if !errors.Is(err, zodb.ErrHomeChanged) {
				t.Fatalf("commit after it: %v", err)
			}
			if _, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{}); !errors.Is(err, zodb.ErrReadOnly) || !errors.Is(err, zodb.ErrHomeChanged) {
				t.Errorf("the next begin: %v, want read-only with the first cause", err)
			}
			s.Close()
			if name == "directory replaced" {
				other := open(t, home, Options{ReadOnly: true})
				if got := other.LastTransaction(); got != 0 {
					t.Errorf("something was written into the directory put in its place: %s", got)
				}
			}
		})
	}
}

func TestMissingHomeIsNotAStorage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, home := range []string{dir, filepath.Join(dir, "none")} {
		if _, err := Open(t.Context(), home, Options{}); !errors.Is(err, zodb.ErrNotAStorage) {
			t.Errorf("open %s: %v", home, err)
		}
	}
}

func TestCreateRefusesWhatExists(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	if err := Create(home, CreateOptions{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := Create(filepath.Join(home, "no", "parent"), CreateOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a parent: %v", err)
	}
	if err := Create(filepath.Join(home, "x"), CreateOptions{Format: "bushy4"}); err == nil {
		t.Error("format bushy4 was accepted")
	}
}

// slowDisk takes a while to sync a file, wherever the files are.
type slowDisk struct{ vfs.FS }

type slowFile struct{ vfs.File }

func (d slowDisk) Create(name string) (vfs.File, error) {
	f, err := d.FS.Create(name)
	return slowFile{f}, err
}

func (d slowDisk) OpenWrite(name string) (vfs.File, error) {
	f, err := d.FS.OpenWrite(name)
	return slowFile{f}, err
}

func (f slowFile) Sync() error {
	time.Sleep(time.Millisecond)
	return f.File.Sync()
}

// TestGroupCommitSharesFsyncs: who commits while a sync is under way shares the next one.
func TestGroupCommitSharesFsyncs(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	disk, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, home, Options{SegmentSize: 16 << 20, fs: slowDisk{disk}})
	const writers, each = 8, 50
	before := s.Status().JournalSyncs
	var wait sync.WaitGroup
	for g := range writers {
		wait.Go(func() {
			for i := range each {
				if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: zodb.OID(g + 1), data: rec(fmt.Sprint(i))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	per := float64(s.Status().JournalSyncs-before) / (writers * each)
	t.Logf("%.3f fsyncs per transaction with %d writers", per, writers)
	if per >= 0.5 { // on a quiet machine it is below 0.3, see docs/performance.md
		t.Errorf("%.2f fsyncs per transaction: commits are not grouped", per)
	}
}

func TestCloseEndsOpenTransactions(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	ctx := t.Context()
	voted, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(voted.Store(1, 0, rec("a")), voted.Vote(ctx)); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("b")})
		waiting <- err
	}()
	for s.txns.Report().WaitForLocks == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The vote that waited for the lock either came to its end, or was told.
	committed := <-waiting
	if committed != nil && !errors.Is(committed, zodb.ErrClosed) && !errors.Is(committed, zodb.ErrState) {
		t.Errorf("a vote that waited for a lock: %v", committed)
	}
	if _, err := voted.Finish(ctx, nil); !errors.Is(err, zodb.ErrState) {
		t.Errorf("finish after close: %v", err)
	}
	if _, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{}); !errors.Is(err, zodb.ErrClosed) {
		t.Errorf("begin after close: %v", err)
	}
	again := open(t, home, Options{})
	if r, err := again.Load(ctx, 1); (err == nil) != (committed == nil) || err == nil && string(r.Data) != string(rec("b")) {
		t.Errorf("the transaction ended with %v, and after reopening there is %q, %v", committed, r.Data, err)
	}
}

func TestMinimalKeepsTheCurrentRevisionOnly(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{Class: zodb.ClassMinimal, Format: "lawn"})
	s := open(t, home, Options{})
	ctx := t.Context()
	t1 := commit(t, s, change{oid: 1, data: rec("a")})
	t2 := commit(t, s, change{oid: 1, data: rec("b")})
	for range 2 {
		if got := load(t, s, 1); got != string(rec("b")) {
			t.Errorf("data %q", got)
		}
		if _, err := s.LoadSerial(ctx, 1, t1); s.LastTransaction() == t2 && s.Status().UnflushedTransactions == 0 && !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("old serial: %v", err)
		}
		if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("c"), serial: t1}); !errors.Is(err, zodb.ErrConflict) {
			t.Errorf("stale store: %v", err)
		}
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Transaction(ctx, t2); !errors.Is(err, zodb.ErrUnsupported) {
		t.Errorf("history of a Minimal storage: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := load(t, open(t, home, Options{}), 1); got != string(rec("b")) {
		t.Errorf("after reopening: %q", got)
	}
}

func TestBlobFileIsConsumed(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	ctx := t.Context()
	src := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(src, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	txn, err := s.txns.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(txn.StoreBlob(1, 0, rec("b"), zodb.BlobSource{Path: src}), txn.Vote(ctx)); err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Finish(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := readBlob(t, s, 1, tid); got != "from a file" {
		t.Errorf("blob %q", got)
	}
	if _, err := os.Stat(src); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{SpoolSize: 100})
	txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changes := []change{{oid: 1, data: rec(strings.Repeat("a", 300))}, {oid: 2, data: rec("b"), blob: "content"}}
	if err := errors.Join(fill(s, txn, changes...), txn.Vote(t.Context()), txn.Abort()); err != nil {
		t.Fatal(err)
	}
	var left []string
	for e, err := range s.home.FS.List("journal") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Name, "blob-") || strings.HasPrefix(e.Name, "spool-") {
			left = append(left, e.Name)
		}
	}
	if len(left) > 0 {
		t.Errorf("an aborted transaction left %v", left)
	}
	if n := s.txns.Report().HeldLocks; n != 0 {
		t.Errorf("%d locks are held", n)
	}
	if _, err := s.Load(t.Context(), 1); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("load: %v", err)
	}
}

func TestSpooledTransactionIsStoredWhole(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{SpoolSize: 1000})
	var changes []change
	for i := range 50 {
		changes = append(changes, change{oid: zodb.OID(i), data: rec(strings.Repeat(string(rune('a'+i%26)), 100*i))})
	}
	commit(t, s, changes...)
	for i, c := range changes {
		if got := load(t, s, zodb.OID(i)); got != string(c.data) {
			t.Errorf("object %d differs", i)
		}
	}
}

func TestMetadataThatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	long := make([]byte, zodb.MaxMetaLen+1)
	for name, meta := range map[string]zodb.TxnMeta{"user": {User: long}, "description": {Description: long}, "extension": {Extension: long}} {
		if _, err := s.txns.Begin(t.Context(), meta, zodb.BeginOptions{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLockedSublockStartsInSnapshotModeAndLeavesIt(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	commit(t, s, change{oid: 1, data: rec("a")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	sublock, err := f.Lock("misc/sublock")
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, home, Options{})
	if got := s.Status().Snapshot; got != "startup" {
		t.Fatalf("state %q, want startup", got)
	}
	frozen := listTree(t, filepath.Join(home, "A"))
	commit(t, s, change{oid: 1, data: rec("b")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := load(t, s, 1); got != string(rec("b")) {
		t.Errorf("data %q", got)
	}
	if got := listTree(t, filepath.Join(home, "A")); !slices.Equal(got, frozen) {
		t.Errorf("A changed while somebody held the sublock:\n%v\n%v", frozen, got)
	}
	if b, _ := os.ReadFile(filepath.Join(home, "misc", "snapshot")); string(b) != "shutdown" {
		t.Errorf("misc/snapshot is %q, want it untouched", b)
	}
	if err := sublock.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := s.WaitNormal(ctx); err != nil {
		t.Fatalf("it does not leave the mode by itself: %v", err)
	}
	if got := load(t, s, 1); got != string(rec("b")) {
		t.Errorf("data %q", got)
	}
	if got := listTree(t, filepath.Join(home, "B")); len(got) != 0 {
		t.Errorf("B holds %v", got)
	}
}

// listTree returns a line for each file: name, size, inode and time stamp.
func listTree(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err != nil || name == dir || info.IsDir() && strings.Contains(dir, "/B") {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		size := info.Size()
		if info.IsDir() {
			size = 0
		}
		list = append(list, fmt.Sprintf("%s %s %d %d %d %d", name, info.Mode(), size, st.Ino, st.Nlink, info.ModTime().UnixNano()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
