package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// restored copies one transaction as an import does.
func restored(t testing.TB, s *engine.Storage, tid zodb.TID, status byte, records ...zodb.Record) {
	t.Helper()
	txn, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: tid, Status: status})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		rec.TID, rec.Exists = tid, rec.Data != nil
		if err := txn.Restore(t.Context(), rec, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := txn.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func statuses(t testing.TB, s *engine.Storage) string {
	t.Helper()
	var b strings.Builder
	for txn, err := range s.Transactions(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		b.WriteByte(txn.Status)
	}
	return b.String()
}

// TestCopiedPackedTransactionsAreNotUndone copies transactions of a packed Data.fs. There
// the current revision of the root has none before it, which is no creation.
func TestCopiedPackedTransactionsAreNotUndone(t *testing.T) {
	t.Parallel()
	const first, second, third zodb.TID = 0x03F6000000000001, 0x03F6000000000002, 0x03F6000000000003
	home := engine.NewHome(t, engine.CreateOptions{Set: map[string]string{"filesystem.quick_shutdown": "1"}})
	s := engine.OpenHome(t, home, engine.Options{})
	restored(t, s, first, zodb.StatusPacked, zodb.Record{OID: 1, Data: pickletest.Record("one")})
	restored(t, s, second, zodb.StatusPacked, zodb.Record{OID: 0, Data: pickletest.Record("root", 1)})
	restored(t, s, third, 0, zodb.Record{OID: 1, Data: pickletest.Record("uno")})
	check := func(when string) {
		t.Helper()
		if got := statuses(t, s); got != "pp " {
			t.Errorf("%s: statuses %q", when, got)
		}
		if log := undoLog(t, s); len(log) != 1 || log[third] != "" {
			t.Errorf("%s: undo log %v", when, log)
		}
		for _, tid := range []zodb.TID{first, second} {
			e := &zodb.UndoError{}
			if _, err := engine.Undo(t, s, tid); !errors.As(err, &e) || !e.Whole || !strings.Contains(e.Reason, "packed") {
				t.Errorf("%s: undo of %s: %v", when, tid, err)
			}
		}
		if got := engine.Load(t, s, 0); got != string(pickletest.Record("root", 1)) {
			t.Errorf("%s: the root is %q", when, got)
		}
	}
	check("in the log")
	for _, when := range []string{"read back from the log", "in files"} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = engine.OpenHome(t, home, engine.Options{})
		check(when)
		if err := s.EnterSnapshot(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		if err := s.LeaveSnapshot(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := engine.Undo(t, s, third); err != nil || engine.Load(t, s, 1) != string(pickletest.Record("one")) {
		t.Errorf("undo of what was not packed: %v", err)
	}
}

// TestTransactionsUpToAPackCountAsPacked derives it from the time of the pack.
func TestTransactionsUpToAPackCountAsPacked(t *testing.T) {
	t.Parallel()
	s := engine.PackStorage(t, engine.Options{})
	var list []zodb.TID
	for _, text := range []string{"first", "second", "third", "fourth"} {
		list = append(list, enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record(text)}))
	}
	engine.DoPack(t, s, zodb.PackOptions{Time: (list[1] + 1).Time()})
	if got := statuses(t, s); strings.Trim(got, "p") != "  " {
		t.Errorf("statuses %q, want p for what was packed", got)
	}
}

func TestCreationOfTheRootIsNotUndone(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	tid := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")})
	if _, err := engine.Undo(t, s, tid); !errors.Is(err, zodb.ErrUndo) || engine.Load(t, s, 0) != string(pickletest.Record("root")) {
		t.Errorf("undo of the creation of the root: %v", err)
	}
}

// TestDamagedRevisionStaysAloneInTheUndoLog: nobody else's transactions are affected.
func TestDamagedRevisionStaysAloneInTheUndoLog(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	second := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")})
	third := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("three")})
	fourth := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("radix", 1)})
	fifth := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("five")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damageRevision(t, home, 1, third)
	s = engine.OpenHome(t, home, engine.Options{})
	damaged := make(map[zodb.TID]bool)
	n := 0
	for e, err := range s.UndoLog(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if (e.Damage != nil) != errors.Is(e.Damage, zodb.ErrCorrupt) || e.Undoable != (e.Reason == "") || e.Undoable != (e.Damage == nil) {
			t.Errorf("entry %+v", e)
		}
		damaged[e.TID] = !e.Undoable
	}
	if n != 5 || damaged[first] || damaged[second] || !damaged[third] || damaged[fourth] || !damaged[fifth] {
		t.Errorf("not undoable of %s: %v", []zodb.TID{first, second, third, fourth, fifth}, damaged)
	}
	for _, tid := range []zodb.TID{third, fifth} {
		if _, err := engine.Undo(t, s, tid); !errors.Is(err, zodb.ErrUndo) || !errors.Is(err, zodb.ErrCorrupt) {
			t.Errorf("undo of %s, which needs what is damaged: %v", tid, err)
		}
	}
	if _, err := engine.Undo(t, s, fourth); err != nil {
		t.Errorf("undo of another object: %v", err)
	}
}

// damageRevision changes one byte of the record of a closed HOME in format bushy.
func damageRevision(t testing.TB, home string, oid zodb.OID, tid zodb.TID) {
	t.Helper()
	format, err := layout.ParseFormat("bushy")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(home, "A", format.Path(layout.Revision(oid, tid)))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRecordOfAnUndoNamesNothingThatIsGone: a copy would look for it in vain.
func TestRecordOfAnUndoNamesNothingThatIsGone(t *testing.T) {
	t.Parallel()
	s := engine.PackStorage(t, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("zero")})
	before := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	second := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")})
	back, err := engine.Undo(t, s, second)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.LoadRecord(t.Context(), 1, back); err != nil || r.DataTID != before {
		t.Errorf("record %+v, %v; want the data of %s", r, err, before)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("radix", 1)})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("racine", 1)})
	engine.DoPack(t, s, zodb.PackOptions{})
	if r, err := s.LoadRecord(t.Context(), 1, back); err != nil || r.DataTID != 0 || string(r.Data) != string(pickletest.Record("one")) {
		t.Errorf("after the pack: record %+v, %v", r, err)
	}
}
