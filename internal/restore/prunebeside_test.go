package restore_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestPruneBesideAReader: a chain is removed while it is restored, or verified. The restore says so, and leaves nothing;
// a backup that is gone is neither good nor bad, and nothing is noted of it.
func TestPruneBesideAReader(t *testing.T) {
	home := forkable(t, "")
	w := &writer{t, enginetest.Open(t, home, engine.Options{}), make(map[zodb.OID]zodb.TID)}
	repository := objstore.NewDir(directory(t, t.TempDir()))
	w.store(0, "N.")
	backUp(t, home, repository, backup.Full)
	w.store(0, "N.")
	last := backUp(t, home, repository, "").Backup
	w.store(0, "N.")
	kept := backUp(t, home, repository, backup.Full).Backup
	repo := openRepository(t, repository)
	p, err := repo.Exactly(last)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	o := restoreOptions(t, repo, p, t.TempDir(), "home")
	o.Progress = func(backup.Progress) {
		if files++; files == 2 {
			if r, err := backup.Prune(t.Context(), repository, backup.PruneOptions{}); err != nil || len(r.Removed) != 2 {
				t.Error(r, err)
			}
		}
	}
	if _, err := restore.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "was removed meanwhile") {
		t.Errorf("a restore of a chain that was removed: %v", err)
	}
	for e, err := range o.Parent.List(".") {
		t.Errorf("the restore has left %s, %v", e.Name, err)
	}
	var warnings []string
	tried := 0
	out, err := repo.Verify(t.Context(), repo.Backups, backup.VerifyOptions{Level: backup.LevelRestore, Now: time.Now,
		Trial: func(context.Context, *backup.Plan) error { tried++; return nil }, Warn: func(text string) { warnings = append(warnings, text) }})
	if err != nil || len(out) != 1 || out[0].Name != kept.Name || out[0].Error != nil || tried != 1 || len(warnings) != 2 {
		t.Errorf("verified %+v, %v, %d trials; warnings: %q", out, err, tried, warnings)
	}
	for info, err := range repository.List(t.Context()) {
		if err != nil || strings.HasSuffix(info.Name, ".verified.json") != (info.Name == kept.Name+".verified.json") {
			t.Errorf("there is %s, %v", info.Name, err)
		}
	}
}
