package engine_test

import (
	"errors"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// undoOf begins a transaction that undoes another one.
func undoOf(t *testing.T, s *engine.Storage, tid zodb.TID) zodb.Txn {
	t.Helper()
	txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { txn.Abort() })
	if _, err := txn.Undo(t.Context(), tid); err != nil {
		t.Fatal(err)
	}
	return txn
}

// wantRefused votes for an undo that would refer to a missing object.
func wantRefused(t *testing.T, txn zodb.Txn, from, target zodb.OID) {
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

// TestUndoAcrossAPackIsRefused: the undo was asked for, a pack runs from its beginning to its end
// and removes the objects to which the returning record refers, and then comes the vote.
func TestUndoAcrossAPackIsRefused(t *testing.T) {
	t.Parallel()
	s := engine.PackStorage(t, engine.Options{})
	x := engine.NewOIDs(t, s, 1)[0]
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", x)}, enginetest.Change{OID: x, Data: pickletest.Record("one")})
	cut := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root without")})
	txn := undoOf(t, s, cut)
	other := engine.NewOIDs(t, s, 1)[0]
	enginetest.Commit(t, s, enginetest.Change{OID: other, Data: pickletest.Record("the newest transaction")})
	engine.DoPack(t, s, zodb.PackOptions{})
	if engine.Exists(t, s, x) {
		t.Fatal("the pack has left it")
	}
	wantRefused(t, txn, 0, x)
	if err := errors.Join(s.Flush(t.Context()), s.Close(), engine.Sound(t.Context(), s.Dir().FS, false)); err != nil {
		t.Error(err)
	}
}

// TestUndoOfACutReferenceToADeletedObjectIsRefused: the object was deleted before, or is being
// deleted by a transaction that voted first.
func TestUndoOfACutReferenceToADeletedObjectIsRefused(t *testing.T) {
	t.Parallel()
	for _, voted := range []bool{false, true} {
		s := engine.NewStorage(t, engine.Options{})
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
		cut := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root without")})
		if !voted {
			enginetest.Commit(t, s, enginetest.Change{OID: 1})
			wantRefused(t, undoOf(t, s, cut), 0, 1)
			continue
		}
		del, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(enginetest.Fill(t.Context(), s, del, enginetest.Change{OID: 1}), del.Vote(t.Context())); err != nil {
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
	s := engine.NewStorage(t, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	changed := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root changed", 1)})
	enginetest.Commit(t, s, enginetest.Change{OID: 1})
	txn := undoOf(t, s, changed)
	if err := txn.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := engine.Load(t, s, 0); got != string(pickletest.Record("root", 1)) {
		t.Errorf("the root is %q", got)
	}
}

// TestUndoOfACreationPassesOverRecordsThatAreNoPickles: encrypted ones, for instance.
func TestUndoOfACreationPassesOverRecordsThatAreNoPickles(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")}, enginetest.Change{OID: 1, Data: []byte("\x00encrypted")})
	created := enginetest.Commit(t, s, enginetest.Change{OID: 2, Data: []byte("\x00encrypted too")})
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: []byte("\x00encrypted again")})
	txn := undoOf(t, s, created)
	if err := txn.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if engine.Exists(t, s, 2) {
		t.Error("the object exists")
	}
	if !engine.Exists(t, s, 1) {
		t.Error("another object does not")
	}
}

// TestUndoAcrossAPackThatRemovesTransactionsIsRefused: the undo of a creation was asked
// for, a pack removes the transactions that tell who refers to the object since, and then
// comes the vote.
func TestUndoAcrossAPackThatRemovesTransactionsIsRefused(t *testing.T) {
	t.Parallel()
	s := engine.PackStorage(t, engine.Options{}, "storage.keep_policy=undoable")
	oids := engine.NewOIDs(t, s, 3)
	first, second, x := oids[0], oids[1], oids[2]
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", first, second)}, enginetest.Change{OID: first, Data: pickletest.Record("")}, enginetest.Change{OID: second, Data: pickletest.Record("")})
	made := enginetest.Commit(t, s, enginetest.Change{OID: first, Data: pickletest.Record("", x)}, enginetest.Change{OID: x, Data: pickletest.Record("made")})
	enginetest.Commit(t, s, enginetest.Change{OID: second, Data: pickletest.Record("", x)})
	txn := undoOf(t, s, made)
	for range 3 {
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root again", first, second)})
	}
	engine.DoPack(t, s, zodb.PackOptions{})
	if err := txn.Vote(t.Context()); !errors.Is(err, zodb.ErrUndo) {
		t.Errorf("vote: %v, want an undo error: %s refers to %s", err, second, x)
	}
	if err := errors.Join(txn.Abort(), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if !engine.Exists(t, s, x) {
		t.Errorf("%s is gone, and %s refers to it", x, second)
	}
}
