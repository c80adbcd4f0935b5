package engine

import (
	"errors"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/zodb"
)

// undoOf begins a transaction that undoes another one.
func undoOf(t *testing.T, s *Storage, tid zodb.TID) *txn.Txn {
	t.Helper()
	txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { txn.Abort() })
	if _, err := txn.Undo(t.Context(), tid); err != nil {
		t.Fatal(err)
	}
	return txn
}

// wantRefused votes for an undo that would refer to what does not exist.
func wantRefused(t *testing.T, txn *txn.Txn, from, target zodb.OID) {
	t.Helper()
	err := txn.Vote(t.Context())
	d, dangling := errors.AsType[*zodb.DanglingError](err)
	if !errors.Is(err, zodb.ErrUndo) || !dangling || d.OID != from || d.Target != target {
		t.Errorf("vote: %v, want an undo error about the reference from %s to %s", err, from, target)
	}
	if err := txn.Abort(); err != nil {
		t.Error(err)
	}
}

// TestUndoAcrossAPackIsRefused: the undo was asked for, a pack runs from its
// beginning to its end and removes what the record that comes back refers to, and
// then comes the vote.
func TestUndoAcrossAPackIsRefused(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	x := newOIDs(t, s, 1)[0]
	commit(t, s, change{oid: 0, data: rec("root", x)}, change{oid: x, data: rec("one")})
	cut := commit(t, s, change{oid: 0, data: rec("root without")})
	txn := undoOf(t, s, cut)
	other := newOIDs(t, s, 1)[0]
	commit(t, s, change{oid: other, data: rec("the newest transaction")})
	doPack(t, s, zodb.PackOptions{})
	if exists(t, s, x) {
		t.Fatal("the pack has left it")
	}
	wantRefused(t, txn, 0, x)
	if err := errors.Join(s.Flush(t.Context()), s.Close(), sound(t.Context(), s.home.FS, false)); err != nil {
		t.Error(err)
	}
}

// TestUndoOfACutReferenceToADeletedObjectIsRefused: what it referred to was deleted
// before, or is being deleted by a transaction that voted first.
func TestUndoOfACutReferenceToADeletedObjectIsRefused(t *testing.T) {
	t.Parallel()
	for _, voted := range []bool{false, true} {
		s := newStorage(t, Options{})
		commit(t, s, change{oid: 0, data: rec("root", 1)}, change{oid: 1, data: rec("one")})
		cut := commit(t, s, change{oid: 0, data: rec("root without")})
		if !voted {
			commit(t, s, change{oid: 1})
			wantRefused(t, undoOf(t, s, cut), 0, 1)
			continue
		}
		del, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(fill(s, del, change{oid: 1}), del.Vote(t.Context())); err != nil {
			t.Fatal(err)
		}
		txn := undoOf(t, s, cut)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			wantRefused(t, txn, 0, 1) // it waits for the lock
		}()
		if _, err := del.Finish(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		<-ended
	}
}

// TestUndoKeepsAReferenceThatDanglesAlready: the current revision has it, too, so
// the undo adds nothing.
func TestUndoKeepsAReferenceThatDanglesAlready(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	commit(t, s, change{oid: 0, data: rec("root", 1)}, change{oid: 1, data: rec("one")})
	changed := commit(t, s, change{oid: 0, data: rec("root changed", 1)})
	commit(t, s, change{oid: 1})
	txn := undoOf(t, s, changed)
	if err := txn.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := load(t, s, 0); got != string(rec("root", 1)) {
		t.Errorf("the root is %q", got)
	}
}

// TestUndoOfACreationPassesOverRecordsThatAreNoPickles: encrypted ones, for instance.
func TestUndoOfACreationPassesOverRecordsThatAreNoPickles(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	commit(t, s, change{oid: 0, data: rec("root")}, change{oid: 1, data: []byte("\x00encrypted")})
	created := commit(t, s, change{oid: 2, data: []byte("\x00encrypted too")})
	commit(t, s, change{oid: 1, data: []byte("\x00encrypted again")})
	txn := undoOf(t, s, created)
	if err := txn.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if exists(t, s, 2) {
		t.Error("the object exists")
	}
	if !exists(t, s, 1) {
		t.Error("another object does not")
	}
}

// TestUndoAcrossAPackThatRemovesTransactionsIsRefused: the undo of a creation was asked
// for, a pack removes the transactions that tell who refers to the object since, and then
// comes the vote.
func TestUndoAcrossAPackThatRemovesTransactionsIsRefused(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{}, "storage.keep_policy=undoable")
	oids := newOIDs(t, s, 3)
	first, second, x := oids[0], oids[1], oids[2]
	commit(t, s, change{oid: 0, data: rec("root", first, second)}, change{oid: first, data: rec("")}, change{oid: second, data: rec("")})
	made := commit(t, s, change{oid: first, data: rec("", x)}, change{oid: x, data: rec("made")})
	commit(t, s, change{oid: second, data: rec("", x)})
	txn := undoOf(t, s, made)
	for range 3 {
		commit(t, s, change{oid: 0, data: rec("root again", first, second)})
	}
	doPack(t, s, zodb.PackOptions{})
	if err := txn.Vote(t.Context()); !errors.Is(err, zodb.ErrUndo) {
		t.Errorf("vote: %v, want an undo error: %s refers to %s", err, second, x)
	}
	if err := errors.Join(txn.Abort(), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if !exists(t, s, x) {
		t.Errorf("%s is gone, and %s refers to it", x, second)
	}
}
