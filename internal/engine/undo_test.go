package engine_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestUndoBringsBackDataAndBlob(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	t1 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one"), Blob: "first"}, enginetest.Change{OID: 2, Data: pickletest.Record("two")})
	t2 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("uno"), Blob: "second"}, enginetest.Change{OID: 2, Data: nil})
	t3, err := engine.Undo(t, s, t2)
	if err != nil {
		t.Fatal(err)
	}
	if engine.Load(t, s, 1) != string(pickletest.Record("one")) || engine.Load(t, s, 2) != string(pickletest.Record("two")) || engine.ReadBlob(t, s, 1, t3) != "first" {
		t.Error("the undo did not bring back what was there")
	}
	rec1, err := s.LoadRecord(t.Context(), 1, t3)
	if err != nil || rec1.DataTID != t1 {
		t.Errorf("record %+v, %v; want DataTID %s", rec1, err, t1)
	}
	// And the undo of the undo.
	t4, err := engine.Undo(t, s, t3)
	if err != nil {
		t.Fatal(err)
	}
	if engine.Load(t, s, 1) != string(pickletest.Record("uno")) || engine.ReadBlob(t, s, 1, t4) != "second" {
		t.Error("the undo of the undo did not bring back what was there")
	}
	if _, err := s.Load(t.Context(), 2); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("object 2: %v", err)
	}
}

func TestSeveralUndosInOneTransactionSeeEachOther(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	t2 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")})
	t3 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("three")})
	if _, err := engine.Undo(t, s, t2, t3); !errors.Is(err, zodb.ErrUndo) {
		t.Errorf("in the wrong order: %v", err)
	}
	if _, err := engine.Undo(t, s, t3, t2); err != nil {
		t.Fatal(err)
	}
	if got := engine.Load(t, s, 1); got != string(pickletest.Record("one")) {
		t.Errorf("got %q", got)
	}
}

func TestUndoIsRefusedWhenSomethingChangedLater(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	t1 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	t2 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")})
	_, err := engine.Undo(t, s, t1)
	u, ok := errors.AsType[*zodb.UndoError](err)
	if !ok || u.OID != 1 || u.TID != t1 {
		t.Errorf("undo of what was changed: %v", err)
	}
	if _, err := engine.Undo(t, s, t2+1); !errors.Is(err, zodb.ErrUndo) {
		t.Errorf("undo of nothing: %v", err)
	}

	// Between undo and vote, somebody else commits.
	txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Abort()
	if _, err := txn.Undo(t.Context(), t2); err != nil {
		t.Fatal(err)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("three")})
	if err := txn.Vote(t.Context()); !errors.Is(err, zodb.ErrUndo) {
		t.Errorf("vote: %v", err)
	}
}

func TestUndoOfACreationIsRefusedWhileSomethingRefersToIt(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	t2 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("child")})
	t3 := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)})
	_, err := engine.Undo(t, s, t2)
	d, ok := errors.AsType[*zodb.DanglingError](err)
	if !ok || !errors.Is(err, zodb.ErrUndo) || d.OID != 0 || d.Target != 1 {
		t.Errorf("undo: %v", err)
	}
	if _, err := engine.Undo(t, s, t3, t2); err != nil {
		t.Errorf("together with the reference: %v", err)
	}
	if _, err := s.Load(t.Context(), 1); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("object 1: %v", err)
	}
}

func TestUndoOfACreationAndOfThatUndo(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	t2 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("child"), Blob: "content"}, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)})
	t3, err := engine.Undo(t, s, t2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), 1); !errors.Is(err, zodb.ErrNotFound) || engine.Load(t, s, 0) != string(pickletest.Record("root")) {
		t.Errorf("after the undo: object 1: %v", err)
	}
	t4, err := engine.Undo(t, s, t3)
	if err != nil {
		t.Fatal(err)
	}
	if engine.Load(t, s, 1) != string(pickletest.Record("child")) || engine.Load(t, s, 0) != string(pickletest.Record("root", 1)) || engine.ReadBlob(t, s, 1, t4) != "content" {
		t.Error("the undo of the undo did not create it again")
	}
}

// undoLog returns for each transaction why it cannot be undone; "" if it can.
func undoLog(t *testing.T, s *engine.Storage) map[zodb.TID]string {
	t.Helper()
	log := make(map[zodb.TID]string)
	for e, err := range s.UndoLog(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Undoable != (e.Reason == "") {
			t.Errorf("transaction %s: undoable %t, and the reason is %q", e.TID, e.Undoable, e.Reason)
		}
		log[e.TID] = e.Reason
	}
	return log
}

// TestUndoLogAndHistorySurviveAPackAsFarAsItKeepsThem packs between the second and
// the third revision of an object.
func TestUndoLogAndHistorySurviveAPackAsFarAsItKeepsThem(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"detailed", "undoable"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			s := engine.PackStorage(t, engine.Options{}, "storage.keep_policy="+policy)
			first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("first", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("stays")})
			second := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("second", 1)})
			third := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("third", 1)})
			fourth := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("fourth", 1)})
			for tid, reason := range undoLog(t, s) {
				if reason != "" {
					t.Errorf("before the pack: %s: %s", tid, reason)
				}
			}
			engine.DoPack(t, s, zodb.PackOptions{Time: (second + 1).Time()})
			history, err := s.History(t.Context(), 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			var got []zodb.TID
			for _, h := range history {
				got = append(got, h.TID)
			}
			if want := []zodb.TID{fourth, third, second}; !slices.Equal(got, want) {
				t.Errorf("history %v, want %v", got, want)
			}
			// As that of FileStorage it ends where the pack began.
			want := map[zodb.TID]string{fourth: "", third: ""}
			if log := undoLog(t, s); !maps.Equal(log, want) {
				t.Errorf("undo log %v, want %v", log, want)
			}
			if _, err := engine.Undo(t, s, fourth, third); err != nil || engine.Load(t, s, 0) != string(pickletest.Record("second", 1)) {
				t.Errorf("undo of what came later: %v", err)
			}
			for _, tid := range []zodb.TID{first, second} {
				if _, err := engine.Undo(t, s, tid); !errors.Is(err, zodb.ErrUndo) || !strings.Contains(err.Error(), "packed") {
					t.Errorf("undo of what was packed: %v", err)
				}
			}
		})
	}
}
