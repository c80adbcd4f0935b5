package dirstorage_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage"
	"github.com/dirstorage/dirstorage/zodb"
)

// open makes and opens a HOME.
func open(t *testing.T, o dirstorage.Options) (*dirstorage.Storage, string) {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	if err := dirstorage.Create(home, dirstorage.CreateOptions{Format: "bushy", Set: map[string]string{"storage.check_dangling_references": "0"}}); err != nil {
		t.Fatal(err)
	}
	s, err := dirstorage.Open(t.Context(), home, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, home
}

// commit stores one record.
func commit(t *testing.T, s *dirstorage.Storage, oid zodb.OID, serial zodb.TID, state string) zodb.TID {
	t.Helper()
	txn, err := s.Begin(t.Context(), zodb.TxnMeta{Description: []byte(state)}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(txn.Store(oid, serial, []byte("\x80\x03cm\nC\n.\x80\x03U\x01"+state+".")), txn.Vote(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Finish(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tid
}

func TestWhatIsCommittedIsReadUndoneAndPacked(t *testing.T) {
	t.Parallel()
	s, home := open(t, dirstorage.Options{NoControlSocket: true})
	ctx := t.Context()
	first := commit(t, s, 0, 0, "a")
	second := commit(t, s, 0, first, "b")
	if rev, err := s.LoadBefore(ctx, 0, second); err != nil || rev.Serial != first || rev.End != second {
		t.Errorf("before %s: %+v, %v", second, rev, err)
	}
	txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if oids, err := txn.Undo(ctx, second); err != nil || len(oids) != 1 {
		t.Fatalf("undo: %v, %v", oids, err)
	}
	if err := txn.Vote(ctx); err != nil {
		t.Fatal(err)
	}
	third, err := txn.Finish(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := s.History(ctx, 0, 9)
	if err != nil || len(entries) != 3 || entries[0].UndoFrom != first {
		t.Errorf("history: %+v, %v", entries, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{}); !errors.Is(err, zodb.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	again, err := dirstorage.Open(ctx, home, dirstorage.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := again.LastTransaction(); got != third {
		t.Errorf("the last transaction is %s, want %s", got, third)
	}
	if _, err := again.Pack(ctx, zodb.PackOptions{}); !errors.Is(err, zodb.ErrReadOnly) {
		t.Errorf("a pack of what was opened to be read: %v", err)
	}
}

func TestErrorsOfTheFaceAreThoseOfZODB(t *testing.T) {
	t.Parallel()
	s, home := open(t, dirstorage.Options{NoControlSocket: true})
	if _, err := dirstorage.Open(t.Context(), t.TempDir(), dirstorage.Options{}); !errors.Is(err, zodb.ErrNotAStorage) {
		t.Errorf("nothing there: %v", err)
	}
	if _, err := dirstorage.Open(t.Context(), home, dirstorage.Options{}); !errors.Is(err, zodb.ErrLocked) {
		t.Errorf("open already: %v", err)
	}
	if err := dirstorage.Create(filepath.Join(t.TempDir(), "x"), dirstorage.CreateOptions{Format: "x"}); !reflect.DeepEqual(reflect.TypeOf(err), reflect.TypeFor[*zodb.OptionError]()) {
		t.Errorf("no such format: %v", err)
	}
	commit(t, s, 0, 0, "a")
	txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Abort()
	if err := txn.Store(0, 0, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err, ok := errors.AsType[*zodb.ConflictsError](txn.Vote(t.Context())); !ok || len(err.Conflicts) != 1 {
		t.Errorf("a store over another one: %v", err)
	}
	if err := s.EnterSnapshot(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.EnterSnapshot(t.Context(), "b"); !errors.Is(err, zodb.ErrSnapshotMode) {
		t.Errorf("a second snapshot: %v", err)
	}
	if err := s.LeaveSnapshot(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
}

// told is an Observer.
type told chan int

func (o told) Synced(time.Duration, int)       { o <- 1 }
func (o told) LockWaited(time.Duration)        {}
func (o told) Flushed(time.Duration, int, int) {}

func TestOptionsReachTheEngine(t *testing.T) {
	t.Parallel()
	o := make(told, 10)
	s, _ := open(t, dirstorage.Options{NoControlSocket: true, Observer: o, Clock: func() time.Time { return time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC) }})
	if tid := commit(t, s, 0, 0, "a"); tid.Time().Year() != 2040 || len(o) == 0 {
		t.Errorf("tid %s of %s, and the observer was told of %d commits", tid, tid.Time(), len(o))
	}
}
