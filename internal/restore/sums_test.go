package restore_test

import (
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestBackupsBeginWithRecordsOfAnEarlierBuild: a full backup has bundles of which the records have
// MD5, the increments upon it have the checksums of today. Every transaction is restored, and the restored HOME
// is backed up on top of the same backups.
func TestBackupsBeginWithRecordsOfAnEarlierBuild(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Format: "bundled"})
	s := enginetest.Open(t, home, engine.Options{})
	w := writer{t, s, make(map[zodb.OID]zodb.TID)}
	tids := []zodb.TID{}
	store := func(oid zodb.OID) {
		w.store(oid, "N.")
		tids = append(tids, w.serials[oid])
	}
	for range 3 {
		store(0)
		store(1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	enginetest.Rewrite(t, home, layout.Bundled, enginetest.Resum(t, record.MD5))
	repository := objstore.NewDir(directory(t, t.TempDir()))
	backUp(t, home, repository, backup.Full)
	w.s = enginetest.Open(t, home, engine.Options{})
	for range 2 {
		store(0)
		store(1)
		if m := backUp(t, home, repository, "").Backup; m == nil || m.Kind != backup.Incremental || m.ProblemCount != 0 {
			t.Errorf("%+v", m)
		}
	}
	repo := openRepository(t, repository)
	for _, tid := range tids {
		p, err := repo.At(repo.Identities()[0], tid)
		dir := t.TempDir()
		if err == nil {
			_, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "home"))
		}
		if err != nil {
			t.Fatalf("restore to %s: %v", tid, err)
		}
		got := filepath.Join(dir, "home")
		enginetest.Clean(t, got)
		kinds := enginetest.SumKinds(t, got, layout.Bundled)
		if tid != tids[len(tids)-1] {
			continue
		}
		if kinds[record.MD5] == 0 || kinds[record.XXH64] == 0 || len(kinds) != 2 {
			t.Errorf("the newest backup has %v; want MD5 and XXH64", kinds)
		}
		if m := backUp(t, got, repository, "").Backup; m != nil && m.Kind != backup.Incremental {
			t.Errorf("what was restored: %+v", m)
		}
	}
}
