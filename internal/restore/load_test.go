package restore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func directory(t testing.TB, dir string) vfs.FS {
	t.Helper()
	f, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// backUp makes a backup of a HOME. Frames are small, so that there are several.
func backUp(t testing.TB, home string, store objstore.Store, kind backup.Kind) *backup.Result {
	t.Helper()
	result, err := tryBackUp(t.Context(), home, store, kind)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func tryBackUp(ctx context.Context, home string, store objstore.Store, kind backup.Kind) (*backup.Result, error) {
	return backup.Run(ctx, backup.Options{
		Store: store, Kind: kind, Now: time.Now, FrameSize: 16 << 10,
		Snapshot: snapshotOf(home),
	})
}

func snapshotOf(home string) snapshot.Options {
	return snapshot.Options{Home: home, Now: time.Now, Timeout: 5 * time.Minute, Interval: 5 * time.Millisecond}
}

func openRepository(t testing.TB, store objstore.Store) *backup.Repository {
	t.Helper()
	r, err := backup.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Damaged) > 0 {
		t.Fatalf("manifests that can't be used: %v", r.Damaged)
	}
	return r
}

func restoreOptions(t testing.TB, r *backup.Repository, p *backup.Plan, dir, name string) restore.Options {
	t.Helper()
	return restore.Options{Repository: r, Plan: p, Parent: directory(t, dir), Name: name, Now: time.Now}
}

// TestEveryBackupAndTransactionIsRestored is the promise of the backups: made
// under load, each of them, and any transaction between, comes back as the
// writers know it, blobs included.
func TestEveryBackupAndTransactionIsRestored(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	count, between := 21, 50 // backups, and transactions that are none's last
	if testing.Short() {
		count, between = 4, 5
	}
	for _, format := range []string{"chunky", "bundled"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			l := loadtest.New(t, 80, engine.CreateOptions{Format: format})
			l.Start(t, 4)
			l.Write(t, 60)
			store := objstore.NewDir(directory(t, t.TempDir()))
			var backups []*backup.Manifest
			for i := range count {
				kind := backup.Incremental
				if i == 0 {
					kind = backup.Full
				}
				l.Budget.Store(25) // at full speed while it is made
				result := backUp(t, l.Home, store, kind)
				if result.Backup == nil || result.Backup.Kind != kind || result.Backup.ProblemCount != 0 {
					t.Fatalf("backup %d: %+v", i, result)
				}
				backups = append(backups, result.Backup)
				l.Write(t, 6)
			}
			l.End()

			repo := openRepository(t, store)
			outcomes, err := repo.Verify(t.Context(), repo.Backups, backup.VerifyOptions{Level: backup.LevelData, Now: time.Now})
			if err != nil || len(outcomes) != count {
				t.Fatalf("%d outcomes, %v", len(outcomes), err)
			}
			for _, o := range outcomes {
				if o.Error != nil {
					t.Error(o.Name, o.Error)
				}
			}
			var targets []zodb.TID
			for _, m := range backups {
				targets = append(targets, m.TID)
			}
			first, last := backups[0].TID, backups[count-1].TID
			rnd := rand.New(rand.NewPCG(5, 5))
			for len(targets) < count+between {
				if tid := l.TIDs[rnd.IntN(len(l.TIDs))]; tid >= first && tid <= last {
					targets = append(targets, tid)
				}
			}
			dir := t.TempDir()
			for i, tid := range hometest.Today(t, hometest.OneOf(1, 3, 1), targets) {
				p := planTo(t, repo, tid)
				name := fmt.Sprint("r", i)
				done, err := restore.Run(t.Context(), restoreOptions(t, repo, p, dir, name))
				if err != nil || done.TID != tid || done.Resumed {
					t.Fatalf("restore to %s: %+v, %v", tid, done, err)
				}
				if err := l.Compare(filepath.Join(dir, name), tid); err != nil {
					t.Fatalf("restored to %s: %v", tid, err)
				}
				enginetest.Clean(t, filepath.Join(dir, name))
				os.RemoveAll(filepath.Join(dir, name))
			}
		})
	}
}

// TestInterruptedRestoreGoesOn stops a restore in the middle. Its work is not done again,
// and a restore of something else does not take it for its own.
func TestInterruptedRestoreGoesOn(t *testing.T) {
	t.Parallel()
	l := loadtest.New(t, 60, engine.CreateOptions{})
	l.Start(t, 1)
	l.Write(t, 200)
	store := objstore.NewDir(directory(t, t.TempDir()))
	backUp(t, l.Home, store, backup.Full)
	l.Write(t, 20)
	last := backUp(t, l.Home, store, backup.Incremental).Backup
	l.End()
	repo := openRepository(t, store)
	p, err := repo.Exactly(last)
	if err != nil {
		t.Fatal(err)
	}
	total := p.Chain[0].Counts.Entries + last.Counts.Entries
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	o := restoreOptions(t, repo, p, dir, "home")
	o.Checkpoint = 32 << 10
	o.Progress = func(p backup.Progress) {
		if p.Files > total/2 {
			cancel()
		}
	}
	if _, err := restore.Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("a restore that was stopped: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "home")); err == nil {
		t.Error("there is a target already")
	}
	o.Progress = nil
	done, err := restore.Run(t.Context(), o)
	if err != nil || !done.Resumed || done.Files > total*2/3 || done.Files < total/4 {
		t.Fatalf("going on: %+v, %v; %d entries", done, err, total)
	}
	if err := l.Compare(filepath.Join(dir, "home"), last.TID); err != nil {
		t.Error(err)
	}
}

// TestMinimalIsBackedUpIncrementally looks at class Minimal, which has no
// transactions to follow.
func TestMinimalIsBackedUpIncrementally(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Class: zodb.ClassMinimal})
	s := enginetest.Open(t, home, engine.Options{})
	serials := make(map[zodb.OID]zodb.TID)
	store := func(data string, oids ...zodb.OID) {
		var changes []enginetest.Change
		for _, oid := range oids {
			changes = append(changes, enginetest.Change{OID: oid, Data: []byte(data)})
		}
		tid := enginetest.Commit(t, s, changes...)
		for _, oid := range oids {
			serials[oid] = tid
		}
	}
	repository := objstore.NewDir(directory(t, t.TempDir()))
	store("cm\nC\n.(K\x01t.", 0, 1, 2, 3, 4)
	backUp(t, home, repository, backup.Full)
	store("cm\nC\n.(K\x02t.", 1, 7)
	inc := backUp(t, home, repository, backup.Incremental).Backup
	if inc.Counts.Objects != 2 {
		t.Errorf("%d objects, want 2", inc.Counts.Objects)
	}
	merged, err := backup.Merge(t.Context(), repository, backup.MergeOptions{Name: inc.Name, Now: time.Now})
	if err != nil || merged.Counts.Objects != 6 {
		t.Fatal(merged, err)
	}
	repo := openRepository(t, repository)
	for i, m := range []*backup.Manifest{inc, merged} {
		p, err := repo.Exactly(m)
		dir, name := t.TempDir(), fmt.Sprint("home", i)
		if err == nil {
			_, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
		got := enginetest.Open(t, filepath.Join(dir, name), engine.Options{ReadOnly: true})
		for oid, serial := range serials {
			if r, err := got.Load(t.Context(), oid); err != nil || r.Serial != serial {
				t.Errorf("object %s: %s, %v; want %s", oid, r.Serial, err, serial)
			}
		}
	}
}
