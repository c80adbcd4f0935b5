package engine_test

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

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestNewStorageIsEmpty(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	if got := s.LastTransaction(); got != 0 {
		t.Errorf("last transaction %s, want 0", got)
	}
	if _, err := s.Load(t.Context(), 0); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("load of the root: %v, want not found", err)
	}
	if got := engine.TIDs(t, s); len(got) != 0 {
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

func TestRevisionsAreReadWhereverTheyAre(t *testing.T) {
	t.Parallel()
	engine.InEveryPlace(t, func(t *testing.T, settle func(*engine.Storage)) {
		s := engine.NewStorage(t, engine.Options{})
		ctx := t.Context()
		settle(s)
		t1 := enginetest.CommitWith(t, s, enginetest.Options{Meta: zodb.TxnMeta{User: []byte("tester")}},
			enginetest.Change{OID: 0, Data: pickletest.Record("one")}, enginetest.Change{OID: 7, Data: pickletest.Record("other"), Blob: "blob one"})
		settle(s)
		t2 := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("two")})
		settle(s)
		t3 := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: nil})
		t4 := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("four")}, enginetest.Change{OID: 7, Data: pickletest.Record("other 2"), Blob: "blob four"})
		settle(s)

		if got := engine.Load(t, s, 0); got != string(pickletest.Record("four")) {
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
			case r == nil || string(r.Data) != string(pickletest.Record(tc.want)) || r.Serial != tc.serial || r.End != tc.end:
				t.Errorf("before %s: got %+v, want %q %s %s", tc.before, r, tc.want, tc.serial, tc.end)
			}
		}
		for tid, want := range map[zodb.TID]string{t1: "one", t2: "two", t4: "four"} {
			if got, err := s.LoadSerial(ctx, 0, tid); err != nil || string(got) != string(pickletest.Record(want)) {
				t.Errorf("serial %s: %q, %v", tid, got, err)
			}
		}
		if _, err := s.LoadSerial(ctx, 0, t3); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("serial of the deletion: %v", err)
		}
		if got := engine.ReadBlob(t, s, 7, t1); got != "blob one" {
			t.Errorf("old blob %q", got)
		}
		if got := engine.ReadBlob(t, s, 7, t4); got != "blob four" {
			t.Errorf("new blob %q", got)
		}
		if _, err := s.OpenBlob(ctx, 0, t4); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("blob of an object without one: %v", err)
		}
		if got, want := engine.TIDs(t, s), []zodb.TID{t1, t2, t3, t4}; !slices.Equal(got, want) {
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
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	t1 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one"), Blob: "content"})
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
	s = engine.OpenHome(t, home, engine.Options{})
	if got := engine.Load(t, s, 1); got != string(pickletest.Record("one")) {
		t.Errorf("data %q", got)
	}
	if got := engine.ReadBlob(t, s, 1, t1); got != "content" {
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
	engine.InEveryPlace(t, func(t *testing.T, settle func(*engine.Storage)) {
		s := engine.NewStorage(t, engine.Options{})
		t1 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a")})
		t2 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("b")})
		settle(s)
		_, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: 1, Data: pickletest.Record("c"), Serial: t1})
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
		if got := s.HeldLocks(); got != 0 {
			t.Errorf("%d locks are held after abort", got)
		}
	})
}

func TestConflictKeepsLocksUntilNextVote(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	ctx := t.Context()
	t1 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a")})
	t2 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("b")})
	txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Abort()
	if err := txn.Store(1, t1, pickletest.Record("c")); err != nil {
		t.Fatal(err)
	}
	if err := txn.Vote(ctx); !errors.Is(err, zodb.ErrConflict) {
		t.Fatalf("vote: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: 1, Data: pickletest.Record("intruder"), Serial: t2})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("another writer passed between two votes: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := txn.Store(1, t2, pickletest.Record("resolved")); err != nil {
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
	if got := engine.Load(t, s, 1); got != string(pickletest.Record("resolved")) {
		t.Errorf("data %q", got)
	}
}

func TestCheckCurrentHoldsUntilFinish(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	ctx := t.Context()
	t1 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a")})
	t2 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("b")})
	for name, tc := range map[string]struct {
		serial zodb.TID
		want   error
	}{"current": {t2, nil}, "old": {t1, zodb.ErrConflict}, "none": {0, zodb.ErrConflict}} {
		txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
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
	engine.InEveryPlace(t, func(t *testing.T, settle func(*engine.Storage)) {
		s := engine.NewStorage(t, engine.Options{})
		enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("target")}, enginetest.Change{OID: 2, Data: pickletest.Record("doomed")})
		enginetest.Commit(t, s, enginetest.Change{OID: 2, Data: nil})
		settle(s)
		for name, tc := range map[string]struct {
			changes []enginetest.Change
			want    error
		}{
			"to an object":             {[]enginetest.Change{{OID: 10, Data: pickletest.Record("x", 1)}}, nil},
			"to one never stored":      {[]enginetest.Change{{OID: 11, Data: pickletest.Record("x", 99)}}, zodb.ErrDangling},
			"to a deleted one":         {[]enginetest.Change{{OID: 12, Data: pickletest.Record("x", 2)}}, zodb.ErrDangling},
			"to one stored with it":    {[]enginetest.Change{{OID: 13, Data: pickletest.Record("x", 14)}, {OID: 14, Data: pickletest.Record("y", 13)}}, nil},
			"to one deleted with it":   {[]enginetest.Change{{OID: 15, Data: pickletest.Record("x", 1)}, {OID: 1, Data: nil}}, zodb.ErrDangling},
			"to one deleted with it 2": {[]enginetest.Change{{OID: 1, Data: nil}, {OID: 15, Data: pickletest.Record("x", 1)}}, zodb.ErrDangling},
		} {
			last := s.LastTransaction()
			_, err := enginetest.TryCommit(s, zodb.TxnMeta{}, tc.changes...)
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
		s := engine.NewStorage(t, engine.Options{NoControlSocket: true})
		enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("target")})
		var wait sync.WaitGroup
		var refErr, delErr error
		wait.Go(func() {
			_, refErr = enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: 2, Data: pickletest.Record("x", 1)})
		})
		wait.Go(func() { _, delErr = enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: 1, Data: nil}) })
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
	s := engine.NewStorage(t, engine.Options{})
	ctx := t.Context()
	var mu sync.Mutex
	var seen []zodb.TID
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			for i := range 25 {
				txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				oid := zodb.OID(g + 1)
				serial, _ := s.Serial(ctx, oid)
				if err := errors.Join(txn.Store(oid, serial, pickletest.Record(fmt.Sprint(i))), txn.Vote(ctx)); err != nil {
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
	if got := engine.TIDs(t, s); !slices.Equal(got, seen) {
		t.Errorf("transactions are not those announced")
	}
}

// TestDeleteOfWhatWasNeverStored is no conflict, at any serial, since no data that the caller could
// store would resolve it. An object that was deleted has a revision.
func TestDeleteOfWhatWasNeverStored(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	ctx := t.Context()
	first := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("root")}, enginetest.Change{OID: 2, Data: pickletest.Record("goes")})
	second := enginetest.Commit(t, s, enginetest.Change{OID: 2, Serial: first})
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
			txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer txn.Abort()
			if err := errors.Join(txn.Store(1, 0, pickletest.Record("a conflict beside it")), txn.Delete(tc.oid, tc.serial)); err != nil {
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
	s := engine.NewStorage(t, engine.Options{})
	ctx := t.Context()
	given := zodb.TIDFromTime(engine.ParseTime("2001-02-03T04:05:06Z"))
	copyOne := func(tid zodb.TID) error {
		txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
		if err != nil {
			return err
		}
		defer txn.Abort()
		if err := txn.Restore(ctx, zodb.Record{OID: 5, TID: tid, Data: pickletest.Record(tid.String()), Exists: true}, nil); err != nil {
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
	home := engine.NewHome(t, engine.CreateOptions{})
	engine.OpenHome(t, home, engine.Options{})
	_, err := engine.Open(t.Context(), home, engine.Options{})
	if !errors.Is(err, zodb.ErrLocked) {
		t.Fatalf("got %v, want locked", err)
	}
	if want := fmt.Sprint(os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not name pid %s", err, want)
	}
}

func TestReadOnlyOpenWorksBesideARunningStorage(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("flushed")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	t2 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("in the log")})
	r := engine.OpenHome(t, home, engine.Options{ReadOnly: true})
	if got := engine.Load(t, r, 1); got != string(pickletest.Record("in the log")) {
		t.Errorf("data %q", got)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 50 { // the log's places are used again
		enginetest.Commit(t, s, enginetest.Change{OID: 2, Data: pickletest.Record(fmt.Sprint(i, strings.Repeat("x", 4000)))})
	}
	if got := engine.Load(t, r, 1); got != string(pickletest.Record("in the log")) {
		t.Errorf("data %q after the other process flushed", got)
	}
	if got := r.LastTransaction(); got != t2 {
		t.Errorf("last transaction %s, want %s", got, t2)
	}
	if _, err := r.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{}); !errors.Is(err, zodb.ErrReadOnly) {
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
			if err := engine.Create(home, engine.CreateOptions{}); err != nil {
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
			home := engine.NewHome(t, engine.CreateOptions{})
			s := engine.OpenHome(t, home, engine.Options{})
			enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a")})
			replace(t, home)
			_, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: 2, Data: pickletest.Record("b")})
			if !errors.Is(err, zodb.ErrHomeChanged) {
				t.Fatalf("commit after it: %v", err)
			}
			if _, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{}); !errors.Is(err, zodb.ErrReadOnly) || !errors.Is(err, zodb.ErrHomeChanged) {
				t.Errorf("the next begin: %v, want read-only with the first cause", err)
			}
			s.Close()
			if name == "directory replaced" {
				other := engine.OpenHome(t, home, engine.Options{ReadOnly: true})
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
		if _, err := engine.Open(t.Context(), home, engine.Options{}); !errors.Is(err, zodb.ErrNotAStorage) {
			t.Errorf("open %s: %v", home, err)
		}
	}
}

func TestCreateRefusesWhatExists(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	if err := engine.Create(home, engine.CreateOptions{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := engine.Create(filepath.Join(home, "no", "parent"), engine.CreateOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a parent: %v", err)
	}
	if err := engine.Create(filepath.Join(home, "x"), engine.CreateOptions{Format: "bushy4"}); err == nil {
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

// TestGroupCommitSharesFsyncs: commits during a sync share the next one.
func TestGroupCommitSharesFsyncs(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	disk, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	s := engine.OpenHome(t, home, engine.OnFS(engine.Options{SegmentSize: 16 << 20}, slowDisk{disk}))
	const writers, each = 8, 50
	before := s.Status().JournalSyncs
	var wait sync.WaitGroup
	for g := range writers {
		wait.Go(func() {
			for i := range each {
				if _, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: zodb.OID(g + 1), Data: pickletest.Record(fmt.Sprint(i))}); err != nil {
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
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	ctx := t.Context()
	voted, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(voted.Store(1, 0, pickletest.Record("a")), voted.Vote(ctx)); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: 1, Data: pickletest.Record("b")})
		waiting <- err
	}()
	for s.TxnReport().WaitForLocks == 0 {
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
	if _, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{}); !errors.Is(err, zodb.ErrClosed) {
		t.Errorf("begin after close: %v", err)
	}
	again := engine.OpenHome(t, home, engine.Options{})
	if r, err := again.Load(ctx, 1); (err == nil) != (committed == nil) || err == nil && string(r.Data) != string(pickletest.Record("b")) {
		t.Errorf("the transaction ended with %v, and after reopening there is %q, %v", committed, r.Data, err)
	}
}

func TestMinimalKeepsTheCurrentRevisionOnly(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{Class: zodb.ClassMinimal, Format: "lawn"})
	s := engine.OpenHome(t, home, engine.Options{})
	ctx := t.Context()
	t1 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a")})
	t2 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("b")})
	for range 2 {
		if got := engine.Load(t, s, 1); got != string(pickletest.Record("b")) {
			t.Errorf("data %q", got)
		}
		if _, err := s.LoadSerial(ctx, 1, t1); s.LastTransaction() == t2 && s.Status().UnflushedTransactions == 0 && !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("old serial: %v", err)
		}
		if _, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: 1, Data: pickletest.Record("c"), Serial: t1}); !errors.Is(err, zodb.ErrConflict) {
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
	if got := engine.Load(t, engine.OpenHome(t, home, engine.Options{}), 1); got != string(pickletest.Record("b")) {
		t.Errorf("after reopening: %q", got)
	}
}

func TestBlobFileIsConsumed(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	ctx := t.Context()
	src := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(src, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(txn.StoreBlob(1, 0, pickletest.Record("b"), zodb.BlobSource{Path: src}), txn.Vote(ctx)); err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Finish(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := engine.ReadBlob(t, s, 1, tid); got != "from a file" {
		t.Errorf("blob %q", got)
	}
	if _, err := os.Stat(src); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{SpoolSize: 100})
	txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changes := []enginetest.Change{{OID: 1, Data: pickletest.Record(strings.Repeat("a", 300))}, {OID: 2, Data: pickletest.Record("b"), Blob: "content"}}
	if err := errors.Join(enginetest.Fill(t.Context(), s, txn, changes...), txn.Vote(t.Context()), txn.Abort()); err != nil {
		t.Fatal(err)
	}
	var left []string
	for e, err := range s.Dir().FS.List("journal") {
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
	if n := s.HeldLocks(); n != 0 {
		t.Errorf("%d locks are held", n)
	}
	if _, err := s.Load(t.Context(), 1); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("load: %v", err)
	}
}

func TestSpooledTransactionIsStoredWhole(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{SpoolSize: 1000})
	var changes []enginetest.Change
	for i := range 50 {
		changes = append(changes, enginetest.Change{OID: zodb.OID(i), Data: pickletest.Record(strings.Repeat(string(rune('a'+i%26)), 100*i))})
	}
	enginetest.Commit(t, s, changes...)
	for i, c := range changes {
		if got := engine.Load(t, s, zodb.OID(i)); got != string(c.Data) {
			t.Errorf("object %d differs", i)
		}
	}
}

func TestMetadataThatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	long := make([]byte, zodb.MaxMetaLen+1)
	for name, meta := range map[string]zodb.TxnMeta{"user": {User: long}, "description": {Description: long}, "extension": {Extension: long}} {
		if _, err := s.Begin(t.Context(), meta, zodb.BeginOptions{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLockedSublockStartsInSnapshotModeAndLeavesIt(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a")})
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
	s = engine.OpenHome(t, home, engine.Options{})
	if got := s.Status().Snapshot; got != "startup" {
		t.Fatalf("state %q, want startup", got)
	}
	frozen := listTree(t, filepath.Join(home, "A"))
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("b")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := engine.Load(t, s, 1); got != string(pickletest.Record("b")) {
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
	if got := engine.Load(t, s, 1); got != string(pickletest.Record("b")) {
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
