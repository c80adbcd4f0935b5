package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// restored copies one transaction as an import does.
func restored(t testing.TB, s *Storage, tid zodb.TID, status byte, records ...zodb.Record) {
	t.Helper()
	txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: tid, Status: status})
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

func statuses(t testing.TB, s *Storage) string {
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
	home := newHome(t, CreateOptions{Set: map[string]string{"filesystem.quick_shutdown": "1"}})
	s := open(t, home, Options{})
	restored(t, s, first, zodb.StatusPacked, zodb.Record{OID: 1, Data: rec("one")})
	restored(t, s, second, zodb.StatusPacked, zodb.Record{OID: 0, Data: rec("root", 1)})
	restored(t, s, third, 0, zodb.Record{OID: 1, Data: rec("uno")})
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
			if _, err := undo(t, s, tid); !errors.As(err, &e) || !e.Whole || !strings.Contains(e.Reason, "packed") {
				t.Errorf("%s: undo of %s: %v", when, tid, err)
			}
		}
		if got := load(t, s, 0); got != string(rec("root", 1)) {
			t.Errorf("%s: the root is %q", when, got)
		}
	}
	check("in the log")
	for _, when := range []string{"read back from the log", "in files"} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, home, Options{})
		check(when)
		if err := s.EnterSnapshot(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		if err := s.LeaveSnapshot(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := undo(t, s, third); err != nil || load(t, s, 1) != string(rec("one")) {
		t.Errorf("undo of what was not packed: %v", err)
	}
}

// TestTransactionsUpToAPackCountAsPacked derives it from the time of the pack.
func TestTransactionsUpToAPackCountAsPacked(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	var list []zodb.TID
	for _, text := range []string{"first", "second", "third", "fourth"} {
		list = append(list, commit(t, s, change{oid: 0, data: rec(text)}))
	}
	doPack(t, s, zodb.PackOptions{Time: (list[1] + 1).Time()})
	if got := statuses(t, s); strings.Trim(got, "p") != "  " {
		t.Errorf("statuses %q, want p for what was packed", got)
	}
}

func TestCreationOfTheRootIsNotUndone(t *testing.T) {
	t.Parallel()
	s := newStorage(t, Options{})
	tid := commit(t, s, change{oid: 0, data: rec("root")})
	if _, err := undo(t, s, tid); !errors.Is(err, zodb.ErrUndo) || load(t, s, 0) != string(rec("root")) {
		t.Errorf("undo of the creation of the root: %v", err)
	}
}

// TestDamagedRevisionStaysAloneInTheUndoLog: nobody else's transactions are affected.
func TestDamagedRevisionStaysAloneInTheUndoLog(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	first := commit(t, s, change{oid: 0, data: rec("root", 1)}, change{oid: 1, data: rec("one")})
	second := commit(t, s, change{oid: 1, data: rec("two")})
	third := commit(t, s, change{oid: 1, data: rec("three")})
	fourth := commit(t, s, change{oid: 0, data: rec("radix", 1)})
	fifth := commit(t, s, change{oid: 1, data: rec("five")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damageRevision(t, home, 1, third)
	s = open(t, home, Options{})
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
		if _, err := undo(t, s, tid); !errors.Is(err, zodb.ErrUndo) || !errors.Is(err, zodb.ErrCorrupt) {
			t.Errorf("undo of %s, which needs what is damaged: %v", tid, err)
		}
	}
	if _, err := undo(t, s, fourth); err != nil {
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

// TestRecordOfAnUndoNamesNothingThatIsGone: who copies it would look for it in vain.
func TestRecordOfAnUndoNamesNothingThatIsGone(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	commit(t, s, change{oid: 0, data: rec("root", 1)}, change{oid: 1, data: rec("zero")})
	before := commit(t, s, change{oid: 1, data: rec("one")})
	second := commit(t, s, change{oid: 1, data: rec("two")})
	back, err := undo(t, s, second)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.LoadRecord(t.Context(), 1, back); err != nil || r.DataTID != before {
		t.Errorf("record %+v, %v; want the data of %s", r, err, before)
	}
	commit(t, s, change{oid: 0, data: rec("radix", 1)})
	commit(t, s, change{oid: 0, data: rec("racine", 1)})
	doPack(t, s, zodb.PackOptions{})
	if r, err := s.LoadRecord(t.Context(), 1, back); err != nil || r.DataTID != 0 || string(r.Data) != string(rec("one")) {
		t.Errorf("after the pack: record %+v, %v", r, err)
	}
}
