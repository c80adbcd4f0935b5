package metrics_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

func osFS(t testing.TB, dir string) vfs.FS {
	t.Helper()
	f, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t testing.TB, f func() (metrics.Record, error)) metrics.Record {
	t.Helper()
	r, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLastBackupIsFound makes backups, and looks from HOME and from the repository.
func TestLastBackupIsFound(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 5, engine.CreateOptions{})
	l.Start(t, 1)
	l.Write(t, 5)
	dir := t.TempDir()
	store := objstore.NewDir(osFS(t, dir))
	identity := l.Storage.Status().Identity
	inHome, inRepository := metrics.HomeBackup(osFS(t, l.Home)), metrics.RepositoryBackup(store, identity)
	verified := metrics.RepositoryVerified(store, identity)
	for name, f := range map[string]func() (metrics.Record, error){"HOME": inHome, "repository": inRepository, "verified": verified} {
		if r := read(t, f); r != (metrics.Record{}) {
			t.Errorf("%s knows of %v, and there is no backup yet", name, r)
		}
	}
	run := func() {
		t.Helper()
		o := backup.Options{Store: store, Now: time.Now, Snapshot: snapshot.Options{Home: l.Home, Now: time.Now}}
		if _, err := backup.Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now().Add(-time.Second)
	run()
	first := read(t, inRepository)
	if h := read(t, inHome); h.TID != first.TID || h.TID == 0 || h.Time.Before(begun) || first.Time.Before(begun) {
		t.Errorf("HOME says %v, the repository %v", h, first)
	}
	if r := read(t, verified); r != (metrics.Record{}) {
		t.Errorf("verified: %v, and nobody has", r)
	}
	repo, err := backup.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	when := time.Now().Round(0)
	if _, err := repo.Verify(t.Context(), repo.Backups, backup.VerifyOptions{Level: backup.LevelData, Now: func() time.Time { return when }}); err != nil {
		t.Fatal(err)
	}
	l.Write(t, 5)
	run()
	second := read(t, inRepository)
	if h := read(t, inHome); h.TID != second.TID || second.TID <= first.TID {
		t.Errorf("after a second one HOME says %v, the repository %v", h, second)
	}
	if r := read(t, verified); r.TID != first.TID || !r.Time.Equal(when) {
		t.Errorf("verified: %v, want the first one, %v at %v", r, first.TID, when)
	}
	bad := slices.Clone(repo.Backups)
	if _, err := repo.Verify(t.Context(), bad, backup.VerifyOptions{Level: backup.LevelRestore, Now: time.Now, Trial: func(context.Context, *backup.Plan) error { return errors.New("it is not good") }}); err != nil {
		t.Fatal(err)
	}
	if r, other := read(t, verified), read(t, metrics.RepositoryVerified(store, "of another storage")); r.Bad != 1 || r.TID != 0 || other.Bad != 0 {
		t.Errorf("a bad backup: %+v, of another storage %+v", r, other)
	}
	manifests, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	become := func(content string) {
		t.Helper()
		for _, name := range manifests {
			if !strings.HasSuffix(name, ".verified.json") {
				if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	become(`{"schema": 9}`)
	if other := read(t, metrics.RepositoryVerified(store, "of another storage")); other.Bad != 0 {
		t.Errorf("two manifests of a newer release: %+v", other)
	}
	become("{")
	if other := read(t, metrics.RepositoryVerified(store, "of another storage")); other.Bad != 2 {
		t.Errorf("two manifests without content: %+v", other)
	}
	if r := read(t, metrics.RepositoryBackup(store, "of another storage")); r != (metrics.Record{}) {
		t.Errorf("another storage has %v", r)
	}
}

func TestRecordThatIsNotOneIsAnError(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		bad        bool
	}{
		{"one line", "03DF0123456789AB 00\n", false},
		{"no line end", "03DF0123456789AB 00", false},
		{"last of two", "rubbish\n03DF0123456789AB 00\n", false},
		{"empty", "", true},
		{"no space", "03DF0123456789AB", true},
		{"no tid", "03DF 00\n", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			if err := os.Mkdir(filepath.Join(home, "misc"), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(home, "misc", "backed-up"), []byte(tc.text), 0o644); err != nil {
				t.Fatal(err)
			}
			r, err := metrics.HomeBackup(osFS(t, home))()
			if (err != nil) != tc.bad || !tc.bad && r.TID != 0x03DF0123456789AB {
				t.Errorf("%v, %v", r, err)
			}
		})
	}
}
