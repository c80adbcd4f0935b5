package restore_test

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/zodb"
)

// writer commits records of single objects.
type writer struct {
	t       *testing.T
	s       *engine.Storage
	serials map[zodb.OID]zodb.TID
}

// reference is the pickle of a state that refers to an object.
func reference(oid zodb.OID) string { return "(C\x08" + string(oid.Bytes()) + "Qt." }

func (w *writer) store(oid zodb.OID, state string) {
	w.t.Helper()
	w.serials[oid] = enginetest.Commit(w.t, w.s, enginetest.Change{OID: oid, Data: []byte("\x80\x03cm\nC\n.\x80\x03" + state)})
}

// newestRestored restores the newest backup and opens it.
func newestRestored(t *testing.T, repository objstore.Store) *engine.Storage {
	t.Helper()
	repo := openRepository(t, repository)
	dir := t.TempDir()
	p, err := repo.Newest(repo.Identities()[0])
	if err == nil {
		_, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "home"))
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := engine.Open(t.Context(), filepath.Join(dir, "home"), engine.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestWhatAnUndeleteBringsBackIsInTheNextBackup: the files that come back were written
// before the backups that were made meanwhile, none of which has them.
func TestWhatAnUndeleteBringsBackIsInTheNextBackup(t *testing.T) {
	enginetest.EachFormat(t, testWhatAnUndeleteBringsBackIsInTheNextBackup)
}

func testWhatAnUndeleteBringsBackIsInTheNextBackup(t *testing.T, format string) {
	home := enginetest.Home(t, engine.CreateOptions{Format: format, Set: map[string]string{"storage.min_pack_time": "0"}})
	s := enginetest.Open(t, home, engine.Options{})
	w := writer{t, s, make(map[zodb.OID]zodb.TID)}
	w.store(1, "N.")
	w.store(0, reference(1))
	w.store(0, "N.")
	w.store(2, "N.")
	packed, err := s.Pack(t.Context(), zodb.PackOptions{})
	if err != nil || packed.Objects != 2 { // 1 and 2: with min_pack_time 0 the last transaction is not an exception
		t.Fatal(packed, err)
	}
	repository := objstore.NewDir(directory(t, t.TempDir()))
	backUp(t, home, repository, backup.Full)
	if r, err := s.Undelete(t.Context(), 0); err != nil || r.Objects != 2 {
		t.Fatal(r, err)
	}
	o := backup.Options{Store: repository, Kind: backup.Incremental, Now: time.Now, Snapshot: snapshot.Options{Home: home, Now: time.Now}}
	if r, err := backup.Run(t.Context(), o); !errors.Is(err, backup.ErrNoReference) {
		t.Errorf("incremental upon a backup from before the undelete: %+v, %v", r, err)
	}
	if m := backUp(t, home, repository, "").Backup; m == nil || m.Kind != backup.Full {
		t.Errorf("after the undelete: %+v", m)
	}
	w.store(0, reference(1))
	if m := backUp(t, home, repository, "").Backup; m == nil || m.Kind != backup.Incremental {
		t.Errorf("after the backup that came after the undelete: %+v", m)
	}
	got := newestRestored(t, repository)
	for oid, serial := range w.serials {
		if r, err := got.Load(t.Context(), oid); err != nil || r.Serial != serial {
			t.Errorf("object %s: %s, %v; want %s", oid, r.Serial, err, serial)
		}
	}
}

// TestPackBeforeTheEndOfTheReferenceIsInTheNextBackup: its removals are explained where they are
// missing, in lists of gone members as in a bundle that was written without it.
func TestPackBeforeTheEndOfTheReferenceIsInTheNextBackup(t *testing.T) {
	enginetest.EachFormat(t, func(t *testing.T, format string) {
		for _, delay := range []string{"0", "86400"} {
			home := enginetest.Home(t, engine.CreateOptions{Format: format, Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": delay}})
			s := enginetest.Open(t, home, engine.Options{})
			w := writer{t, s, make(map[zodb.OID]zodb.TID)}
			for range 5 {
				w.store(0, "N.")
			}
			to := w.serials[0]
			w.store(0, "N.")
			w.store(0, "N.")
			repository := objstore.NewDir(directory(t, t.TempDir()))
			backUp(t, home, repository, backup.Full)
			if r, err := s.Pack(t.Context(), zodb.PackOptions{Time: to.Time()}); err != nil || r.Revisions < 3 {
				t.Fatal(r, err)
			}
			w.store(0, "N.")
			if m := backUp(t, home, repository, "").Backup; m == nil || m.Kind != backup.Incremental {
				t.Errorf("after the pack: %+v", m)
			}
			got := newestRestored(t, repository)
			if r, err := got.Load(t.Context(), 0); err != nil || r.Serial != w.serials[0] {
				t.Errorf("delay_delete %s: %s, %v; want %s", delay, r.Serial, err, w.serials[0])
			}
			if format == "bundled" && got.Status().Packed != s.Status().Packed {
				t.Errorf("packed up to %s, want %s", got.Status().Packed, s.Status().Packed)
			}
		}
	})
}

// TestMinimalThatWasPutBackIsNoReference: class Minimal has no transactions that tell
// histories apart.
func TestMinimalThatWasPutBackIsNoReference(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Class: zodb.ClassMinimal})
	repository := objstore.NewDir(directory(t, t.TempDir()))
	during := func(home string, serials map[zodb.OID]zodb.TID, f func(w *writer)) {
		t.Helper()
		s := enginetest.Open(t, home, engine.Options{})
		f(&writer{t, s, serials})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	serials := make(map[zodb.OID]zodb.TID)
	during(home, serials, func(w *writer) {
		w.store(0, "N.")
		w.store(1, "N.")
	})
	backUp(t, home, repository, backup.Full)
	older := copyOf(t, home)
	during(home, maps.Clone(serials), func(w *writer) { w.store(1, "K\x01.") })
	if m := backUp(t, home, repository, "").Backup; m == nil || m.Kind != backup.Incremental {
		t.Fatalf("made %+v", m)
	}
	for _, byHand := range []bool{false, true} {
		at := older
		if byHand { // a copy of A is put into its place, and all else is left
			at = home
			aByHand(t, home, older)
		}
		during(at, serials, func(w *writer) { w.store(0, "K\x02.") })
		if m := backUp(t, at, repository, "").Backup; m == nil || m.Kind != backup.Full {
			t.Errorf("by hand: %t: put back and gone on, and then made %+v", byHand, m)
		}
		got := newestRestored(t, repository)
		for oid, serial := range serials {
			if r, err := got.Load(t.Context(), oid); err != nil || r.Serial != serial {
				t.Errorf("by hand: %t: object %s: %s, %v; want %s", byHand, oid, r.Serial, err, serial)
			}
		}
	}
}

// TestAPackOfAnotherHistoryIsNoReference: the storage is put back to the state before a pack, of which there is a
// backup with the same last transaction. An increment upon that would lack everything that the pack had removed. So
// the next one is built upon the backup before the pack, also if the storage was packed again, to the same time, and
// keeps more then than before.
func TestAPackOfAnotherHistoryIsNoReference(t *testing.T) {
	enginetest.EachFormat(t, func(t *testing.T, format string) {
		for _, c := range []struct {
			byHand, packed bool
		}{{false, false}, {true, false}, {false, true}, {true, true}} {
			what := fmt.Sprintf("by hand: %t, packed again: %t", c.byHand, c.packed)
			home := enginetest.Home(t, engine.CreateOptions{Format: format, Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}})
			s := enginetest.Open(t, home, engine.Options{})
			w := &writer{t, s, make(map[zodb.OID]zodb.TID)}
			for range 3 {
				w.store(0, "N.")
				w.store(1, "N.") // nothing refers to it
			}
			w.store(0, "N.")
			last := w.serials[0]
			repository := objstore.NewDir(directory(t, t.TempDir()))
			good := backUp(t, home, repository, backup.Full).Backup
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			older := copyOf(t, home)
			s = enginetest.Open(t, home, engine.Options{})
			if r, err := s.Pack(t.Context(), zodb.PackOptions{Time: last.Time()}); err != nil || r.Objects == 0 {
				t.Fatal(r, err)
			}
			backUp(t, home, repository, backup.Full)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			at := home
			if c.byHand {
				aByHand(t, home, older)
			} else {
				at = restoredFrom(t, repository, good)
			}
			s = enginetest.Open(t, at, engine.Options{})
			if c.packed {
				if _, err := s.Pack(t.Context(), zodb.PackOptions{Time: last.Time(), NoGC: true}); err != nil {
					t.Fatal(err)
				}
			}
			w = &writer{t, s, w.serials}
			w.store(0, "K\x02.")
			switch m := backUp(t, at, repository, "").Backup; {
			case c.byHand && m.Kind != backup.Full:
				t.Errorf("%s: made %s upon %+v, want a full one", what, m.Name, m.Reference)
			case !c.byHand && (m.Reference == nil || m.Reference.Name != good.Name):
				t.Errorf("%s: made %s upon %+v, want one upon %s", what, m.Name, m.Reference, good.Name)
			}
			got := newestRestored(t, repository)
			for oid, serial := range w.serials {
				if r, err := got.Load(t.Context(), oid); err != nil || r.Serial != serial {
					t.Errorf("%s: object %s: %s, %v; want %s", what, oid, r.Serial, err, serial)
				}
			}
		}
	})
}
