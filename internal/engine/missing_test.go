package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// isLost reports an error unless one is the loss of a file that it names.
func isLost(t *testing.T, what string, err error, oid zodb.OID, tid zodb.TID) {
	t.Helper()
	c, ok := errors.AsType[*zodb.CorruptError](err)
	if !ok || c.OID != oid || c.TID != tid || !strings.Contains(strings.ReplaceAll(c.Path, "/", ""), tid.String()) || !strings.Contains(c.Reason, "missing") || errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("%s: %v, want a corrupt error that names %s, %s and its path", what, err, oid, tid)
	}
}

// TestLostRevisionIsNamed: one that is missing and that no pack has removed ends no history in
// silence. It is later than x.packed, or it is not, and then its transaction tells.
func TestLostRevisionIsNamed(t *testing.T) {
	t.Parallel()
	for _, packed := range []bool{false, true} {
		t.Run(map[bool]string{false: "later than x.packed", true: "its transaction did not write it"}[packed], func(t *testing.T) {
			t.Parallel()
			s := engine.PackStorage(t, engine.Options{})
			home := s.Home()
			enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
			lost := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")})
			other := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("radix", 1)})
			third := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("three")})
			if packed { // it keeps all: nothing was replaced before it but the revision that the test takes
				enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("racine", 1)})
				engine.DoPack(t, s, zodb.PackOptions{Time: (third - 1).Time()})
			}
			last := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("four")})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(engine.FileOfA(t, home, layout.Revision(1, lost))); err != nil {
				t.Fatal(err)
			}
			if packed {
				if err := os.WriteFile(filepath.Join(home, "A", "x.packed"), record.AppendX(nil, uint64(third-1)), 0o600); err != nil {
					t.Fatal(err)
				}
				o := &record.Object{OID: 1, Serial: third, Previous: other, Data: pickletest.Record("three")}
				b, err := o.Append(nil, record.MD5)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(engine.FileOfA(t, home, layout.Revision(1, third)), b, 0o600); err != nil {
					t.Fatal(err)
				}
				lost = other
			}
			s = engine.OpenHome(t, home, engine.Options{})
			_, err := s.LoadBefore(t.Context(), 1, third)
			isLost(t, "load before", err, 1, lost)
			list, err := s.History(t.Context(), 1, 10)
			if err != nil || len(list) < 3 {
				t.Fatalf("history: %v, %v", list, err)
			}
			isLost(t, "history", list[2].Damage, 1, lost)
			damage := make(map[zodb.TID]error)
			for e, err := range s.UndoLog(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				damage[e.TID] = e.Damage
			}
			isLost(t, "undo log", damage[third], 1, lost)
			if damage[last] != nil {
				t.Errorf("the undo log says of what has nothing to do with it: %v", damage[last])
			}
			if _, err := engine.Undo(t, s, last); err != nil {
				t.Errorf("undo of what has nothing to do with it: %v", err)
			}
			_, err = engine.Undo(t, s, third)
			isLost(t, "undo", err, 1, lost)
			if !errors.Is(err, zodb.ErrUndo) {
				t.Errorf("undo: %v", err)
			}
			if packed {
				return
			}
			if damage[lost] == nil {
				t.Error("the undo log offers the transaction whose revision is lost")
			}
			_, err = engine.Undo(t, s, lost)
			isLost(t, "undo of it", err, 1, lost)
			txn, err := s.Transaction(t.Context(), lost)
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range s.Records(t.Context(), txn) {
				isLost(t, "records", err, 1, lost)
			}
			_, err = s.TransactionSize(t.Context(), txn)
			isLost(t, "size", err, 1, lost)
		})
	}
}

// TestLostCurrentRevisionIsDamage: there is a pointer, so there is an object.
func TestLostCurrentRevisionIsDamage(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	lost := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(engine.FileOfA(t, home, layout.Revision(1, lost))); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{})
	_, err := s.Load(t.Context(), 1)
	isLost(t, "load", err, 1, lost)
	_, err = s.LoadBefore(t.Context(), 1, zodb.MaxTID)
	isLost(t, "load before", err, 1, lost)
	_, err = engine.Undo(t, s, lost)
	isLost(t, "undo", err, 1, lost)
	list, err := s.History(t.Context(), 1, 10)
	if err != nil || len(list) != 2 || list[1].Damage != nil {
		t.Fatalf("history: %v, %v", list, err)
	}
	isLost(t, "history", list[0].Damage, 1, lost)
	if _, err := s.Pack(t.Context(), zodb.PackOptions{}); err == nil {
		t.Error("a pack does not miss it")
	}
	// The object can be stored anew, based on the lost revision.
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("three"), Serial: lost})
	if got := engine.Load(t, s, 1); got != string(pickletest.Record("three")) {
		t.Errorf("after it was stored anew: %q", got)
	}
}

// TestLostTransactionIsNamed: the chain does not end in silence, nor the history of an object.
func TestLostTransactionIsNamed(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	lost := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("radix", 1)})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(engine.FileOfA(t, home, layout.Transaction(lost))); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{})
	n := 0
	for _, err := range s.TransactionsBackward(t.Context(), 0) {
		if n++; n == 2 {
			isLost(t, "iteration", err, 0, lost)
		} else if err != nil {
			t.Error(err)
		}
	}
	if n != 3 {
		t.Errorf("the iteration ends after %d", n)
	}
	list, err := s.History(t.Context(), 1, 10)
	if err != nil || len(list) != 2 || list[1].Damage != nil {
		t.Fatalf("history: %v, %v", list, err)
	}
	isLost(t, "history", list[0].Damage, 0, lost)
}

// TestUnreadableDirectoryEndsNoChain: that a transaction is missing is known only where
// its directory can be read.
func TestUnreadableDirectoryEndsNoChain(t *testing.T) {
	t.Parallel()
	for _, cause := range []syscall.Errno{syscall.EIO, syscall.EACCES} {
		s, f, home := engine.NewErrStorage(t, engine.Options{})
		first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1)}, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
		second := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")})
		third := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("three")})
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.SetPacked(third) // as after a pack
		if err := os.Remove(engine.FileOfA(t, home, layout.Transaction(first))); err != nil {
			t.Fatal(err)
		}
		bad := s.Dir().Settings.Structure.Format.Path(layout.Transaction(second))
		f.Decide(func(op errfs.Op) error {
			if strings.HasSuffix(op.Name, bad) {
				return cause
			}
			return nil
		})
		var last error
		for _, err := range s.TransactionsBackward(t.Context(), 0) {
			last = err
		}
		if !errors.Is(last, cause) {
			t.Errorf("%v: the iteration ends with %v", cause, last)
		}
		_, err := s.LoadBefore(t.Context(), 1, second)
		if err != nil {
			t.Errorf("%v: a revision whose file is there: %v", cause, err)
		}
		f.Decide(nil)
	}
}
