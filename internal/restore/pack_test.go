package restore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/zodb"
)

// packedPair returns a home as it was after a transaction, and the home into
// which it grew, which the original packed to a later time.
func packedPair(t *testing.T, tid zodb.TID) (before, packed string) {
	t.Helper()
	whole, packed := hometest.Unpack(t, "bushy"), hometest.Unpack(t, "packed")
	for _, name := range []string{"identity", "settings"} { // the golden homes are two storages with one history
		b, err := os.ReadFile(filepath.Join(packed, "config", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(whole, "config", name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	store := objstore.NewDir(directory(t, t.TempDir()))
	backUp(t, whole, store, backup.Full)
	repo := openRepository(t, store)
	p, err := repo.At(repo.Identities()[0], tid)
	dir := t.TempDir()
	if err == nil {
		_, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "before"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "before"), packed
}

// sameObjects compares the answers of two homes for each object of the first.
func sameObjects(t *testing.T, want, got string) {
	t.Helper()
	var both [2]*engine.Storage
	for i, home := range []string{want, got} {
		both[i] = enginetest.Open(t, home, engine.Options{ReadOnly: true})
	}
	n := 0
	for oid, err := range both[0].OIDs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		a, errA := both[0].Load(t.Context(), oid)
		b, errB := both[1].Load(t.Context(), oid)
		if (errA == nil) != (errB == nil) || errA == nil && (string(a.Data) != string(b.Data) || a.Serial != b.Serial) {
			t.Errorf("object %s: %s, %v; want %s, %v", oid, b.Serial, errB, a.Serial, errA)
		}
		n++
	}
	if n == 0 || both[0].LastTransaction() != both[1].LastTransaction() {
		t.Errorf("%d objects; last transactions %s and %s", n, both[0].LastTransaction(), both[1].LastTransaction())
	}
	sum, err := checktest.Undamaged(t.Context(), directory(t, got))
	if err != nil || sum.Transactions == 0 {
		t.Errorf("check: %+v, %v", sum, err)
	}
}

func tid(t testing.TB, text string) zodb.TID {
	t.Helper()
	v, err := zodb.ParseTID(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestPackBetweenNeedsNoFullBackup makes an incremental backup after a pack to a
// time later than its reference, restores it and merges it.
func TestPackBetweenNeedsNoFullBackup(t *testing.T) {
	t.Parallel()
	before, packed := packedPair(t, tid(t, "03F6ED202AAAAAAA"))
	store := objstore.NewDir(directory(t, t.TempDir()))
	full := backUp(t, before, store, backup.Full).Backup
	asSuccessor(t, packed, notesOf(t, before))
	inc := backUp(t, packed, store, backup.Incremental).Backup
	if inc.Reference.TID != full.TID || inc.Packed <= full.TID || inc.ProblemCount != 0 {
		t.Fatalf("%+v", inc)
	}
	repo := openRepository(t, store)
	dir := t.TempDir()
	p, err := repo.Newest(inc.Identity)
	if err == nil {
		_, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "restored"))
	}
	if err != nil {
		t.Fatal(err)
	}
	sameObjects(t, packed, filepath.Join(dir, "restored"))
	// The revisions that pack took in between are gone, and that is said.
	if _, err := repo.At(inc.Identity, tid(t, "03F6ED233AAAAAAA")); err == nil {
		t.Error("a transaction that pack took can be restored")
	}
	if r := repo.Restorable(inc.Identity); len(r) != 2 || r[1].From != inc.Packed {
		t.Errorf("restorable: %v", r)
	}
	p, err = repo.At(inc.Identity, inc.Packed+1)
	if err == nil {
		var done *restore.Result
		done, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "after the pack"))
		if err == nil && done.TID != tid(t, "03F6ED2B65555555") {
			t.Errorf("restored to %s", done.TID)
		}
	}
	if err != nil && !errors.Is(err, restore.ErrPacked) {
		t.Error(err)
	}
	merged, err := backup.Merge(t.Context(), store, backup.MergeOptions{Name: inc.Name, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	repo = openRepository(t, store)
	if p, err = repo.Exactly(merged); err != nil || len(p.Chain) != 1 {
		t.Fatal(p, err)
	}
	if _, err := restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "merged")); err != nil {
		t.Fatal(err)
	}
	sameObjects(t, packed, filepath.Join(dir, "merged"))
}

// TestPackThatTakesTheReferenceNeedsItsWitness packs away the very transaction
// with which the reference ends. Only the storage's memory of its backups tells then that
// it is of this history.
func TestPackThatTakesTheReferenceNeedsItsWitness(t *testing.T) {
	t.Parallel()
	before, packed := packedPair(t, tid(t, "03F6ED1F25555555"))
	store := objstore.NewDir(directory(t, t.TempDir()))
	backUp(t, before, store, backup.Full)
	if _, err := tryBackUp(t.Context(), packed, store, backup.Incremental); !errors.Is(err, backup.ErrNoReference) {
		t.Fatalf("without a witness: %v", err)
	}
	asSuccessor(t, packed, notesOf(t, before))
	inc := backUp(t, packed, store, backup.Incremental).Backup
	repo := openRepository(t, store)
	p, err := repo.Newest(inc.Identity)
	dir := t.TempDir()
	if err == nil {
		_, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "restored"))
	}
	if err != nil {
		t.Fatal(err)
	}
	sameObjects(t, packed, filepath.Join(dir, "restored"))
}

// TestIncrementalBackupAfterOurPack packs between a full and an incremental backup,
// with either policy of keeping transactions, and restores both: nothing that the
// storage has is missing, though a transaction of it may be gone.
func TestIncrementalBackupAfterOurPack(t *testing.T) {
	enginetest.EachFormat(t, testIncrementalBackupAfterOurPack)
}

func testIncrementalBackupAfterOurPack(t *testing.T, format string) {
	for _, policy := range []string{"detailed", "undoable"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			l := loadtest.New(t, 60, engine.CreateOptions{Format: format, Set: map[string]string{
				"storage.keep_policy": policy, "storage.min_pack_time": "0", "storage.delay_delete": "0",
			}})
			l.Start(t, 2)
			l.Write(t, 40)
			store := objstore.NewDir(directory(t, t.TempDir()))
			backUp(t, l.Home, store, backup.Full)
			for range 3 {
				l.Write(t, 40)
				result, err := l.Storage.Pack(t.Context(), zodb.PackOptions{NoGC: true})
				if err != nil || result.Revisions == 0 || result.Transactions == 0 {
					t.Fatalf("pack: %+v, %v", result, err)
				}
				inc := backUp(t, l.Home, store, backup.Incremental).Backup
				if inc.Kind != backup.Incremental || inc.ProblemCount != 0 {
					t.Fatalf("backup: %+v", inc)
				}
			}
			l.End()
			if err := l.Storage.Close(); err != nil {
				t.Fatal(err)
			}
			repo := openRepository(t, store)
			last := repo.Backups[len(repo.Backups)-1]
			p, err := repo.At(repo.Identities()[0], last.TID)
			dir := t.TempDir()
			if err == nil {
				_, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "restored"))
			}
			if err != nil {
				t.Fatal(err)
			}
			sameObjects(t, l.Home, filepath.Join(dir, "restored"))
		})
	}
}
