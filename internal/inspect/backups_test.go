package inspect_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/internal/objstore"
	. "github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// backUp makes a backup, and returns its name.
func backUp(t *testing.T, s *engine.Storage, to objstore.Store, kind backup.Kind) string {
	t.Helper()
	r, err := backup.Run(t.Context(), backup.Options{Store: to, Kind: kind, Now: time.Now, Snapshot: snapshot.Options{Home: s.Home(), Now: time.Now}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Backup.Name
}

func TestBackupsArePointsInTime(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *engine.Storage, _ *inspect.Browser) {
		dir := filepath.Join(t.TempDir(), "it's here")
		parent, err := vfs.OS(filepath.Dir(dir))
		if err != nil {
			t.Fatal(err)
		}
		if err := parent.Mkdir("it's here"); err != nil {
			t.Fatal(err)
		}
		fsys, err := vfs.OS(dir)
		if err != nil {
			t.Fatal(err)
		}
		to := objstore.NewDir(fsys)
		site(t, s)
		first := backUp(t, s, to, backup.Full)
		last := store(t, s, news, oldNews())
		second := backUp(t, s, to, backup.Incremental)
		store(t, s, news, Object("m", "C", None))
		third := backUp(t, s, to, backup.Full)
		r, err := backup.Open(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.Get(second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Verify(t.Context(), []*backup.Manifest{m}, backup.VerifyOptions{Level: backup.LevelData, Now: time.Now}); err != nil {
			t.Fatal(err)
		}
		look := func() *inspect.Backups {
			r, err := backup.Open(t.Context(), to)
			if err != nil {
				t.Fatal(err)
			}
			return inspect.BackupsOf(r, s.Identity(), dir)
		}
		b := look()
		if len(b.Chains) != 2 || len(b.Chains[0].Points) != 1 || len(b.Chains[1].Points) != 2 || b.Points != 3 || b.Failed != 0 || b.Unverified != 2 || b.Others != 0 {
			t.Fatalf("%+v", b)
		}
		p := b.Chains[1].Points[0]
		if b.Chains[0].Points[0].Name != third || p.Name != second || b.Chains[1].Points[1].Name != first || p.Full || p.TID != last || !p.Good() || p.At.IsZero() {
			t.Errorf("%+v", b.Chains)
		}
		want := "dirstorage restore --to " + second + " '" + strings.ReplaceAll(dir, "'", `'\''`) + "' TARGET"
		if p.Command != want {
			t.Errorf("command %s, want %s", p.Command, want)
		}
		if len(b.Ranges) != 2 || !strings.Contains(b.Ranges[1].Command, "--to "+last.String()+" ") || b.Ranges[1].To != last {
			t.Errorf("ranges %+v", b.Ranges)
		}
		// Lost: the full one of a chain, and a manifest.
		if err := fsys.Remove(first + ".tar.zst"); err != nil {
			t.Fatal(err)
		}
		f, err := fsys.Create("20300101T000000Z-full.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		b = look()
		p = b.Chains[1].Points[0]
		if b.Failed != 2 || p.Good() || !p.Bad() || !strings.Contains(p.Problem, "missing") || len(b.Damaged) != 1 || b.Damaged[0].Name != "20300101T000000Z-full" {
			t.Errorf("after losses: %+v", b)
		}
	})
}

func TestBackupsOfSeveralStorages(t *testing.T) {
	t.Parallel()
	fsys, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	to := objstore.NewDir(fsys)
	var stores []*engine.Storage
	for range 2 {
		s := open(t, engine.CreateOptions{})
		store(t, s, zodb.OID(0), Object("m", "C", None))
		backUp(t, s, to, backup.Full)
		stores = append(stores, s)
	}
	r, err := backup.Open(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	b := inspect.BackupsOf(r, stores[1].Identity(), "/backups")
	if b.Others != 1 || b.Points != 1 || !strings.Contains(b.Chains[0].Points[0].Command, " --identity "+stores[1].Identity()+" /backups TARGET") {
		t.Errorf("%+v", b)
	}
}
