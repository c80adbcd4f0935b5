package backup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/loadtest"
)

// TestCountsAreThoseOfTheArchive: a manifest says how much there is in its archive, and a
// verification that reads the archive compares.
func TestCountsAreThoseOfTheArchive(t *testing.T) {
	enginetest.EachFormat(t, testCountsAreThoseOfTheArchive)
}

func testCountsAreThoseOfTheArchive(t *testing.T, format string) {
	l := loadtest.New(t, 60, engine.CreateOptions{Format: format})
	l.Start(t, 2)
	l.Write(t, 30)
	dir := t.TempDir()
	s := store(t, dir)
	counted := func(m *backup.Manifest) {
		t.Helper()
		want, got := l.Storage.Counts(), m.Counts
		if !want.Exact || got.Objects != want.Objects || got.Revisions != want.Revisions || got.Transactions != want.Transactions {
			t.Errorf("%s has %+v, the storage %+v", m.Name, got, want)
		}
	}
	counted(run(t, options(l.Home, s, backup.Full)).Backup)
	l.Write(t, 10)
	inc := run(t, options(l.Home, s, backup.Incremental)).Backup
	if n := inc.Counts; n.Objects < 1 || n.Objects > n.Revisions || n.Transactions < 10 {
		t.Errorf("the incremental one has %+v", n)
	}
	merged, err := backup.Merge(t.Context(), s, backup.MergeOptions{Name: inc.Name, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	counted(merged)

	verify := func() error {
		t.Helper()
		r, err := backup.Open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.Get(merged.Name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := r.Verify(t.Context(), []*backup.Manifest{m}, backup.VerifyOptions{Level: backup.LevelData, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		return out[0].Error
	}
	if err := verify(); err != nil {
		t.Error(err)
	}
	name := filepath.Join(dir, merged.Name+".json")
	sound, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for field, n := range map[string]int64{"objects": merged.Counts.Objects, "revisions": merged.Counts.Revisions, "transactions": merged.Counts.Transactions} {
		wrong := regexp.MustCompile(fmt.Sprintf(`"%s": %d\b`, field, n)).ReplaceAll(sound, fmt.Appendf(nil, `"%s": %d`, field, n+1))
		if err := os.WriteFile(name, resummed(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("it holds %d %s, and its manifest says %d", n, field, n+1)
		if err := verify(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// A release that did not count objects of bundles wrote 0.
	if err := os.WriteFile(name, resummed(regexp.MustCompile(`"objects": \d+`).ReplaceAll(sound, []byte(`"objects": 0`))), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verify(); err != nil {
		t.Errorf("without a count of objects: %v", err)
	}
}
