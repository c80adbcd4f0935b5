package restore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// forgotten removes what a HOME tells of its backups.
func forgotten(t *testing.T, home string) {
	t.Helper()
	if err := os.Remove(filepath.Join(home, "misc/backed-up")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// TestBackupsOfTheSameAAreBuiltUponWithoutALine: where misc/backed-up cannot be written, the manifests tell of which A
// the backups are; not in a copy, and not of a backup from after a pack, or of which the transaction was packed away.
func TestBackupsOfTheSameAAreBuiltUponWithoutALine(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"flat", "bundled"} {
		home := enginetest.Home(t, engine.CreateOptions{Format: format, Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}})
		if is, err := vfs.Identify(directory(t, home), "A"); err != nil || is.Born == 0 {
			t.Skipf("no time of birth here: %v", err)
		}
		repository := objstore.NewDir(directory(t, t.TempDir()))
		s := enginetest.Open(t, home, engine.Options{})
		w := &writer{t, s, make(map[zodb.OID]zodb.TID)}
		without := func(kind backup.Kind, why string) *backup.Manifest {
			t.Helper()
			forgotten(t, home)
			m := backUp(t, home, repository, "").Backup
			if m.Kind != kind {
				t.Fatalf("%s, %s: the backup is %s, want %s", format, why, m.Kind, kind)
			}
			return m
		}
		w.store(1, "N.")
		w.store(2, "N.")
		w.store(0, reference(1))
		full := without(backup.Full, "the first one")
		w.store(0, reference(1))
		without(backup.Incremental, "the same A")

		closed(t, s)
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(copied, os.DirFS(home)); err != nil {
			t.Fatal(err)
		}
		forgotten(t, copied)
		c := enginetest.Open(t, copied, engine.Options{})
		cw := &writer{t, c, map[zodb.OID]zodb.TID{0: w.serials[0]}}
		cw.store(0, reference(1))
		if m := backUp(t, copied, objstore.NewDir(directory(t, t.TempDir())), "").Backup; m.Kind != backup.Full {
			t.Errorf("%s: the first backup into a repository is %s", format, m.Kind)
		}
		if _, err := tryBackUp(t.Context(), copied, repository, backup.Incremental); err == nil {
			t.Errorf("%s: a copy builds upon backups of the original", format)
		}
		closed(t, c)

		s = enginetest.Open(t, home, engine.Options{})
		w.s = s
		w.store(0, reference(1))
		packed(t, s, w.serials[0])
		if m := without(backup.Full, "the transactions of the backups were packed away"); m.Packed == 0 || m.TID == full.TID {
			t.Errorf("%s: %+v", format, m)
		}
		w.store(0, reference(1))
		without(backup.Full, "nothing tells of a backup after a pack")
		closed(t, s)
	}
}
