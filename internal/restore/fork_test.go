package restore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// forkable is a storage without the waiting times of a pack.
func forkable(t *testing.T, format string) string {
	t.Helper()
	return enginetest.Home(t, engine.CreateOptions{Format: format, Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}})
}

// copyOf copies a HOME that nobody has open.
func copyOf(t *testing.T, home string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(home)); err != nil {
		t.Fatal(err)
	}
	return to
}

// aByHand puts a copy of the A of another HOME into the place of the one that is there, and leaves all else.
func aByHand(t *testing.T, home, from string) {
	t.Helper()
	for _, dir := range []string{"A", "misc/snapshot", "misc/snapshot-taken"} {
		if err := os.RemoveAll(filepath.Join(home, dir)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(home, "A"), os.DirFS(filepath.Join(from, "A"))); err != nil {
		t.Fatal(err)
	}
}

// notesOf returns the lines of misc/backed-up about the A that a HOME has, without the end that names it.
func notesOf(t *testing.T, home string) (notes []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(home, "misc/backed-up"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if note, ok := strings.CutSuffix(line, identityOfA(t, home)); ok {
			notes = append(notes, note)
		}
	}
	return notes
}

// identityOfA is the end of such a line.
func identityOfA(t *testing.T, home string) string {
	t.Helper()
	a, err := vfs.Identify(directory(t, home), "A")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(" %d-%d-%d\n", a.Ino, a.Born, a.Volume)
}

// asSuccessor gives a HOME the notes of another one, as if its A were that one's.
func asSuccessor(t *testing.T, home string, notes []string) {
	t.Helper()
	var text strings.Builder
	for _, note := range notes {
		text.WriteString(note + identityOfA(t, home))
	}
	err := os.MkdirAll(filepath.Join(home, "misc"), 0o777)
	if err == nil {
		err = os.WriteFile(filepath.Join(home, "misc/backed-up"), []byte(text.String()), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// closed closes a storage.
func closed(t *testing.T, s *engine.Storage) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// packed packs a storage, and demands that objects go.
func packed(t *testing.T, s *engine.Storage, tid zodb.TID) {
	t.Helper()
	if r, err := s.Pack(t.Context(), zodb.PackOptions{Time: tid.Time()}); err != nil || r.Objects == 0 {
		t.Fatal(r, err)
	}
}

// newestHas restores the newest backup, and compares all objects.
func newestHas(t *testing.T, repository objstore.Store, serials map[zodb.OID]zodb.TID) {
	t.Helper()
	got := newestRestored(t, repository)
	for oid, serial := range serials {
		if r, err := got.Load(t.Context(), oid); err != nil || r.Serial != serial {
			t.Errorf("object %s: %s, %v; want %s", oid, r.Serial, err, serial)
		}
	}
}

// TestAFullBackupOfAnotherHistoryTakesNoPlace: an incremental backup builds upon an incremental one from before a
// pack, of a storage that was put back. A full one from after that pack has the same last transaction, and lacks
// the removals of the pack: it does not take the place of the reference.
func TestAFullBackupOfAnotherHistoryTakesNoPlace(t *testing.T) {
	enginetest.EachFormat(t, func(t *testing.T, format string) {
		home := forkable(t, format)
		s := enginetest.Open(t, home, engine.Options{})
		w := &writer{t, s, make(map[zodb.OID]zodb.TID)}
		repository := objstore.NewDir(directory(t, t.TempDir()))
		w.store(0, "N.")
		w.store(1, "N.") // nothing refers to it
		backUp(t, home, repository, backup.Full)
		w.store(2, "N.")
		w.store(0, "N.")
		last := w.serials[0]
		below := backUp(t, home, repository, backup.Incremental).Backup
		older := restoredFrom(t, repository, below)
		packed(t, s, last)
		backUp(t, home, repository, backup.Full)
		closed(t, s)

		w.s = enginetest.Open(t, older, engine.Options{})
		w.store(0, "K\x02.")
		if m := backUp(t, older, repository, "").Backup; m.Reference == nil || m.Reference.Name != below.Name {
			t.Fatalf("made %s upon %+v, want one upon %s", m.Name, m.Reference, below.Name)
		}
		newestHas(t, repository, w.serials)
		if err := repository.Delete(t.Context(), below.Name+".json"); err != nil {
			t.Fatal(err)
		}
		repo := openRepository(t, repository)
		if p, err := repo.Newest(repo.Identities()[0]); !errors.Is(err, backup.ErrNoBackup) {
			t.Errorf("without %s: %+v, %v", below.Name, p, err)
		}
	})
}

// TestAWitnessIsOfAPack: the disk of a whole HOME is put back to before a pack, so that nothing in HOME tells of it,
// and misc/backed-up is as before. An object becomes reachable again, and a later pack keeps it. The backup after
// the first pack lacks it, though it has the last transaction of the one before, which misc/backed-up names.
func TestAWitnessIsOfAPack(t *testing.T) {
	enginetest.EachFormat(t, func(t *testing.T, format string) {
		home := forkable(t, format)
		s := enginetest.Open(t, home, engine.Options{})
		w := &writer{t, s, make(map[zodb.OID]zodb.TID)}
		repository := objstore.NewDir(directory(t, t.TempDir()))
		w.store(1, "N.")
		w.store(0, "N.")
		last := w.serials[0]
		good := backUp(t, home, repository, backup.Full).Backup
		closed(t, s)
		older, notes := copyOf(t, home), notesOf(t, home)
		s = enginetest.Open(t, home, engine.Options{})
		w.s = s
		packed(t, s, last)
		lacking := backUp(t, home, repository, backup.Full).Backup
		w.store(0, "N.")
		if m := backUp(t, home, repository, backup.Incremental).Backup; m.Reference.Name != lacking.Name {
			t.Errorf("in the history of the pack: made %s upon %+v, want one upon %s", m.Name, m.Reference, lacking.Name)
		}
		closed(t, s)

		w.s = enginetest.Open(t, older, engine.Options{})
		w.store(0, reference(1))
		if _, err := w.s.Pack(t.Context(), zodb.PackOptions{Time: w.serials[0].Time()}); err != nil {
			t.Fatal(err)
		}
		asSuccessor(t, older, notes) // this copy was noticed
		if m := backUp(t, older, repository, "").Backup; m.Reference == nil || m.Reference.Name != good.Name {
			t.Errorf("made %s upon %+v, want one upon %s", m.Name, m.Reference, good.Name)
		}
		newestHas(t, repository, w.serials)
	})
}

// TestTheChainOfTheNewestBackupIsKept: a backup builds upon an older chain, since the full one after it is another
// history's, or is too young. Its chain is the newest.
func TestTheChainOfTheNewestBackupIsKept(t *testing.T) {
	home := forkable(t, "")
	s := enginetest.Open(t, home, engine.Options{})
	w := &writer{t, s, make(map[zodb.OID]zodb.TID)}
	repository := objstore.NewDir(directory(t, t.TempDir()))
	w.store(0, "N.")
	w.store(1, "N.")
	first := backUp(t, home, repository, backup.Full).Backup
	w.store(0, "N.")
	second := backUp(t, home, repository, backup.Full).Backup
	w.store(0, "N.")
	newest, err := backup.Run(t.Context(), backup.Options{Store: repository, Kind: backup.Incremental, Before: second.SnapshotAt, Now: time.Now, Snapshot: snapshotOf(home)})
	if err != nil || newest.Backup.Reference.Name != first.Name {
		t.Fatal(newest, err)
	}
	for _, o := range []backup.PruneOptions{{}, {Chains: 1}, {Since: newest.Backup.SnapshotAt}, {Since: newest.Backup.SnapshotAt.Add(time.Hour)}} {
		o.DryRun = true
		p, err := backup.Prune(t.Context(), repository, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range p.Removed {
			if m.Name == newest.Backup.Name || m.Name == first.Name {
				t.Errorf("%+v: %s is removed", o, m.Name)
			}
		}
	}
}
