package restore_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/salvage"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// lose moves some files of A out, under other names or their own.
func (f *forks) lose() (dir string) {
	f.t.Helper()
	dir = f.path("lost")
	err := os.Mkdir(dir, 0o777)
	n := 0
	if err == nil {
		err = filepath.WalkDir(filepath.Join(f.home, "A"), func(name string, e fs.DirEntry, err error) error {
			x := strings.Contains(name, "/A/x") // which salvage makes anew, but for x.packed
			if err != nil || e.IsDir() || x || strings.HasSuffix(e.Name(), "-deleted") || f.r.IntN(4) > 0 {
				return err
			}
			n++
			to := fmt.Sprint("#", n)
			if f.kind == "bundled" && f.r.IntN(2) == 0 {
				to = e.Name()
			}
			return os.Rename(name, filepath.Join(dir, to))
		})
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.lost += n
	f.log = append(f.log, fmt.Sprintf("  %d files are lost", n))
	return dir
}

// salvaged puts files back as the command does. One that is killed has carried out a part of the plan.
func (f *forks) salvaged(dir string, killed bool) {
	f.t.Helper()
	from, home := directory(f.t, dir), directory(f.t, f.home)
	plan, err := salvage.Plan(f.t.Context(), from, home, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	if killed {
		plan = plan[:f.r.IntN(len(plan)+1)]
	}
	f.log = append(f.log, fmt.Sprintf("  salvaged by %d actions, killed %t", len(plan), killed))
	err = salvage.Apply(f.t.Context(), from, home, plan, time.Now(), func(running bool) error {
		if killed && !running {
			return nil
		}
		return pack.Undeleted{Running: running, Time: time.Now()}.Note(home, vfs.SyncOptions{})
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// meanwhile does something with a storage that lacks files: it is backed up, or opened, where that is possible.
func (f *forks) meanwhile() {
	f.t.Helper()
	if f.r.IntN(2) == 0 {
		if s, err := engine.Open(f.t.Context(), f.home, engine.Options{}); err == nil {
			closed(f.t, s)
			f.log = append(f.log, "  opened")
		}
	}
	if f.r.IntN(2) == 0 {
		if m, err := backup.Run(f.t.Context(), backup.Options{Store: f.only, Now: time.Now, Snapshot: snapshot.Options{Home: f.home, Now: time.Now}}); err == nil {
			f.log = append(f.log, fmt.Sprintf("  backed up: %t", m.Backup != nil))
			if m.Backup != nil {
				f.only.damaged[m.Backup.Name] = true
			}
		}
	}
}

// TestBackupsAfterKilledSalvagesLackNothing: files are lost and salvaged, by salvages that are killed and run again,
// with backups and starts at any moment. The backup after it has all objects and blobs of the storage, which has all
// that it had.
func TestBackupsAfterKilledSalvagesLackNothing(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"chunky", "bundled", minimal} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			seeds, lost := hometest.Rounds(t, 6/hometest.OneOf(1, 3, 6)), 0
			for i := range seeds {
				seed := uint64(hometest.Phase(t)*seeds + i)
				f := newForks(t, kind, seed)
				f.only = f.repositories[0]
				if f.salvageAll(seed, hometest.OneOf(6, 6, 3)); t.Failed() {
					return
				}
				lost += f.lost
			}
			if lost == 0 && !testing.Short() {
				t.Error("nothing was lost")
			}
		})
	}
}

func (f *forks) salvageAll(seed uint64, rounds int) {
	f.t.Helper()
	defer func() {
		if f.t.Failed() {
			f.t.Logf("seed %d:\n%s", seed, strings.Join(f.log, "\n"))
		}
	}()
	f.during(f.commit)
	f.backUp()
	for range rounds {
		f.during(f.commit)
		if f.packs && f.r.IntN(3) == 0 {
			f.pack()
		}
		if f.r.IntN(2) == 0 {
			f.backUp()
		}
		before := f.content(f.home)
		dir := f.lose()
		f.meanwhile()
		for range f.r.IntN(3) {
			f.salvaged(dir, true)
			f.meanwhile()
		}
		f.salvaged(dir, false)
		if f.superset("salvaged", f.content(f.home), before); f.t.Failed() {
			return
		}
		f.during(func(s *engine.Storage) { // which an open that failed before had not left as a snapshot
			if f.r.IntN(2) == 0 {
				f.commit(s)
			}
		})
		if f.backUp(); f.t.Failed() {
			return
		}
	}
}
