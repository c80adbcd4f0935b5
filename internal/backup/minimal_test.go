package backup_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAMomentBetweenBackupsOfClassMinimal is of no backup, for there are no old revisions; the error says that.
func TestAMomentBetweenBackupsOfClassMinimal(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Class: zodb.ClassMinimal})
	s := enginetest.Open(t, home, engine.Options{})
	dir := t.TempDir()
	for range 2 {
		for range 2 {
			enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")})
		}
		run(t, options(home, store(t, dir), ""))
	}
	r, err := backup.Open(t.Context(), store(t, dir))
	if err != nil || len(r.Backups) != 2 {
		t.Fatal(r, err)
	}
	for _, m := range r.Backups {
		if p, err := r.At(m.Identity, m.TID); err != nil || p.Cut || p.Chain[len(p.Chain)-1] != m {
			t.Errorf("to the last transaction of %s: %+v, %v", m.Name, p, err)
		}
	}
	_, err = r.At(r.Backups[0].Identity, r.Backups[1].TID-1)
	if !errors.Is(err, backup.ErrNoBackup) || !strings.Contains(err.Error(), "class Minimal") || strings.Contains(err.Error(), "nothing is known of before") {
		t.Errorf("%v", err)
	}
	if _, err = r.At(r.Backups[0].Identity, r.Backups[0].TID-1); !errors.Is(err, backup.ErrNoBackup) || !strings.Contains(err.Error(), "nothing is known of before") {
		t.Errorf("before the first: %v", err)
	}
}
