package engine

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

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

func TestUndoBringsBackDataAndBlob(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	t1 := commit(t, s, change{oid: 1, data: rec("one"), blob: "first"}, change{oid: 2, data: rec("two")})
	t2 := commit(t, s, change{oid: 1, data: rec("uno"), blob: "second"}, change{oid: 2, data: nil})
	t3, err := undo(t, s, t2)
	if err != nil {
		t.Fatal(err)
	}
	if load(t, s, 1) != string(rec("one")) || load(t, s, 2) != string(rec("two")) || readBlob(t, s, 1, t3) != "first" {
		t.Error("the undo did not bring back what was there")
	}
	rec1, err := s.LoadRecord(t.Context(), 1, t3)
	if err != nil || rec1.DataTID != t1 {
		t.Errorf("record %+v, %v; want DataTID %s", rec1, err, t1)
	}
	// And the undo of the undo.
	t4, err := undo(t, s, t3)
	if err != nil {
		t.Fatal(err)
	}
	if load(t, s, 1) != string(rec("uno")) || readBlob(t, s, 1, t4) != "second" {
		t.Error("the undo of the undo did not bring back what was there")
	}
	if _, err := s.Load(t.Context(), 2); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("object 2: %v", err)
	}
}

func TestSeveralUndosInOneTransactionSeeEachOther(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	commit(t, s, change{oid: 1, data: rec("one")})
	t2 := commit(t, s, change{oid: 1, data: rec("two")})
	t3 := commit(t, s, change{oid: 1, data: rec("three")})
	if _, err := undo(t, s, t2, t3); !errors.Is(err, zodb.ErrUndo) {
		t.Errorf("in the wrong order: %v", err)
	}
	if _, err := undo(t, s, t3, t2); err != nil {
		t.Fatal(err)
	}
	if got := load(t, s, 1); got != string(rec("one")) {
		t.Errorf("got %q", got)
	}
}

func TestUndoIsRefusedWhenSomethingChangedLater(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	t1 := commit(t, s, change{oid: 1, data: rec("one")})
	t2 := commit(t, s, change{oid: 1, data: rec("two")})
	_, err := undo(t, s, t1)
	u, ok := errors.AsType[*zodb.UndoError](err)
	if !ok || u.OID != 1 || u.TID != t1 {
		t.Errorf("undo of what was changed: %v", err)
	}
	if _, err := undo(t, s, t2+1); !errors.Is(err, zodb.ErrUndo) {
		t.Errorf("undo of nothing: %v", err)
	}

	// Between undo and vote, somebody else commits.
	txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Abort()
	if _, err := txn.Undo(t.Context(), t2); err != nil {
		t.Fatal(err)
	}
	commit(t, s, change{oid: 1, data: rec("three")})
	if err := txn.Vote(t.Context()); !errors.Is(err, zodb.ErrUndo) {
		t.Errorf("vote: %v", err)
	}
}

func TestUndoOfACreationIsRefusedWhileSomethingRefersToIt(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	commit(t, s, change{oid: 0, data: rec("root")})
	t2 := commit(t, s, change{oid: 1, data: rec("child")})
	t3 := commit(t, s, change{oid: 0, data: rec("root", 1)})
	_, err := undo(t, s, t2)
	d, ok := errors.AsType[*zodb.DanglingError](err)
	if !ok || !errors.Is(err, zodb.ErrUndo) || d.OID != 0 || d.Target != 1 {
		t.Errorf("undo: %v", err)
	}
	if _, err := undo(t, s, t3, t2); err != nil {
		t.Errorf("together with the reference: %v", err)
	}
	if _, err := s.Load(t.Context(), 1); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("object 1: %v", err)
	}
}

func TestUndoOfACreationAndOfThatUndo(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	commit(t, s, change{oid: 0, data: rec("root")})
	t2 := commit(t, s, change{oid: 1, data: rec("child"), blob: "content"}, change{oid: 0, data: rec("root", 1)})
	t3, err := undo(t, s, t2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), 1); !errors.Is(err, zodb.ErrNotFound) || load(t, s, 0) != string(rec("root")) {
		t.Errorf("after the undo: object 1: %v", err)
	}
	t4, err := undo(t, s, t3)
	if err != nil {
		t.Fatal(err)
	}
	if load(t, s, 1) != string(rec("child")) || load(t, s, 0) != string(rec("root", 1)) || readBlob(t, s, 1, t4) != "content" {
		t.Error("the undo of the undo did not create it again")
	}
}

// undoLog returns for each transaction why it cannot be undone; "" if it can.
func undoLog(t *testing.T, s *Storage) map[zodb.TID]string {
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
			s := packStorage(t, Options{}, "storage.keep_policy="+policy)
			first := commit(t, s, change{oid: 0, data: rec("first", 1)}, change{oid: 1, data: rec("stays")})
			second := commit(t, s, change{oid: 0, data: rec("second", 1)})
			third := commit(t, s, change{oid: 0, data: rec("third", 1)})
			fourth := commit(t, s, change{oid: 0, data: rec("fourth", 1)})
			for tid, reason := range undoLog(t, s) {
				if reason != "" {
					t.Errorf("before the pack: %s: %s", tid, reason)
				}
			}
			doPack(t, s, zodb.PackOptions{Time: (second + 1).Time()})
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
			if _, err := undo(t, s, fourth, third); err != nil || load(t, s, 0) != string(rec("second", 1)) {
				t.Errorf("undo of what came later: %v", err)
			}
			for _, tid := range []zodb.TID{first, second} {
				if _, err := undo(t, s, tid); !errors.Is(err, zodb.ErrUndo) || !strings.Contains(err.Error(), "packed") {
					t.Errorf("undo of what was packed: %v", err)
				}
			}
		})
	}
}
