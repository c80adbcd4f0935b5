package restore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// alone makes sure that a directory holds one name.
func alone(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("not %s alone: %v, %v", name, entries, err)
	}
}

// way is a kind of restore. first makes the files that are there before.
type way struct {
	first func(t *testing.T, repo *backup.Repository, old *backup.Plan, parent string)
	with  func(o *restore.Options)
}

// ways are the kinds of which two could meet at a target.
func ways() map[string]way {
	nothing := func(*testing.T, *backup.Repository, *backup.Plan, string) {}
	volume := func(t *testing.T, _ *backup.Repository, _ *backup.Plan, parent string) {
		if err := os.MkdirAll(filepath.Join(parent, "home", "lost+found"), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	format := func(o *restore.Options) { o.Format, o.Convert = layout.Bundled, into("bundled") }
	return map[string]way{
		"beside":              {nothing, func(*restore.Options) {}},
		"beside, converted":   {nothing, format},
		"in place":            {volume, func(*restore.Options) {}},
		"in place, converted": {volume, format},
		"delta": {func(t *testing.T, repo *backup.Repository, old *backup.Plan, parent string) {
			if _, err := restore.Run(t.Context(), restoreOptions(t, repo, old, parent, "home")); err != nil {
				t.Fatal(err)
			}
		}, func(o *restore.Options) { o.Delta = true }},
	}
}

// filesOnly is a file system that locks no directories.
type filesOnly struct{ vfs.FS }

func (filesOnly) LockDir(string) (vfs.Lock, error) { return nil, vfs.ErrNotSupported }

// TestOneRestoreAtATimeWorksOnATarget: while one is held, another of each kind ends at once and
// disturbs nothing.
func TestOneRestoreAtATimeWorksOnATarget(t *testing.T) {
	t.Parallel()
	l, repo, tids := closedChain(t, "chunky")
	var plans []*backup.Plan
	for _, to := range []zodb.TID{tids[2], l.TIDs[8], tids[0]} {
		p := planTo(t, repo, to)
		plans = append(plans, p)
	}
	for name, w := range ways() {
		for _, nfs := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, without locks of directories: %t", name, nfs), func(t *testing.T) {
				t.Parallel()
				testOneRestoreAtATime(t, l, repo, plans, w, nfs)
			})
		}
	}
}

func testOneRestoreAtATime(t *testing.T, l *loadtest.Load, repo *backup.Repository, plans []*backup.Plan, w way, nfs bool) {
	options := func(p *backup.Plan, parent string, with func(*restore.Options)) restore.Options {
		o := restoreOptions(t, repo, p, parent, "home")
		if nfs {
			o.Parent = filesOnly{o.Parent}
		}
		with(&o)
		return o
	}
	parent := t.TempDir()
	w.first(t, repo, plans[2], parent)
	o := options(plans[0], parent, w.with)
	tried := 0
	others := func() {
		tried++
		for _, second := range ways() {
			for _, p := range plans[:2] {
				done, err := restore.Run(t.Context(), options(p, parent, second.with))
				if done != nil || !errors.Is(err, restore.ErrRunning) || !errors.Is(err, vfs.ErrLocked) ||
					!strings.HasPrefix(err.Error(), "restore "+filepath.Join(parent, "home")+": another restore into it runs: ") {
					t.Errorf("beside one that runs: %+v, %v", done, err)
				}
			}
		}
	}
	var once sync.Once
	o.Progress = func(backup.Progress) { once.Do(others) }
	if convert := o.Convert; convert != nil {
		o.Convert = func(ctx context.Context, from, to vfs.FS) error {
			others()
			err := convert(ctx, from, to)
			others()
			return err
		}
	}
	done, err := restore.Run(t.Context(), o)
	if err != nil || done.TID != plans[0].To || tried == 0 {
		t.Fatalf("the first one: %+v, %v; %d times beside it", done, err, tried)
	}
	if err := l.Compare(filepath.Join(parent, "home"), plans[0].To); err != nil {
		t.Error(err)
	}
	enginetest.Clean(t, filepath.Join(parent, "home"))
	alone(t, parent, "home")
	for _, left := range []string{".restoring", "config.new", "misc/restore.json"} {
		if _, err := os.Stat(filepath.Join(parent, "home", left)); err == nil {
			t.Errorf("%s is left", left)
		}
	}
}

// TestRestoresAtOnceMakeOneHome: of different states, all begun at the same time.
func TestRestoresAtOnceMakeOneHome(t *testing.T) {
	t.Parallel()
	l, repo, tids := closedChain(t, "chunky")
	for name, w := range ways() {
		if name == "delta" { // each of which may succeed after the other
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			w.first(t, repo, nil, parent)
			start := make(chan struct{})
			var all sync.WaitGroup
			var mu sync.Mutex
			var made []zodb.TID
			for i := range 6 {
				to := []zodb.TID{tids[2], l.TIDs[8]}[i%2]
				p := planTo(t, repo, to)
				o := restoreOptions(t, repo, p, parent, "home")
				w.with(&o)
				all.Go(func() {
					<-start
					done, err := restore.Run(t.Context(), o)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil && done.TID == to:
						made = append(made, to)
					case errors.Is(err, restore.ErrRunning), errors.Is(err, restore.ErrExists):
					default:
						t.Errorf("%+v, %v", done, err)
					}
				})
			}
			close(start)
			if all.Wait(); len(made) != 1 {
				t.Fatalf("%d succeeded", len(made))
			}
			if err := l.Compare(filepath.Join(parent, "home"), made[0]); err != nil {
				t.Error(err)
			}
			enginetest.Clean(t, filepath.Join(parent, "home"))
			alone(t, parent, "home")
		})
	}
}

// TestTheLockOfAKilledRestoreIsTaken: its file lies beside the work, and nobody holds it. Without a
// file nothing but the work is left by one that was stopped.
func TestTheLockOfAKilledRestoreIsTaken(t *testing.T) {
	t.Parallel()
	_, repo, tids := closedChain(t, "chunky")
	p := planTo(t, repo, tids[2])
	disk := crashfs.New(1)
	o := restore.Options{Repository: repo, Plan: p, Parent: disk, Name: "home", Now: time.Now, Workers: 1, Checkpoint: 4 << 10}
	o.Progress = func(p backup.Progress) {
		if p.Files > 20 {
			disk.CrashAt(1)
		}
	}
	if _, err := restore.Run(t.Context(), o); !errors.Is(err, crashfs.ErrCrashed) {
		t.Fatal(err)
	}
	killed := disk.Killed()
	if _, err := killed.Stat("home.restoring.lock"); err != nil {
		t.Error(err)
	}
	o.Parent, o.Progress = killed, nil
	done, err := restore.Run(t.Context(), o)
	if err != nil || !done.Resumed {
		t.Fatalf("%+v, %v", done, err)
	}
	after := killed.Crashed(crashfs.KeepNone)
	if err := wholeHome(t, after, "home", tids[2]); err != nil {
		t.Error(err)
	}
	var names []string
	for e, err := range after.List(".") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	if !slices.Equal(names, []string{"home"}) {
		t.Errorf("after a power cut there are %q", names)
	}
}

// TestALockThatWasTakenAwayByHand: then another restore may have changed the work, so nothing gets
// the name of the target, and nothing of the other one is removed.
func TestALockThatWasTakenAwayByHand(t *testing.T) {
	t.Parallel()
	l, repo, tids := closedChain(t, "chunky")
	p := planTo(t, repo, tids[2])
	parent := t.TempDir()
	lock := filepath.Join(parent, "home.restoring.lock")
	o := restoreOptions(t, repo, p, parent, "home")
	var once sync.Once
	o.Progress = func(backup.Progress) {
		once.Do(func() {
			if err := errors.Join(os.Remove(lock), os.WriteFile(lock, []byte("another one's"), 0o666)); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := restore.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another restore may have changed "+filepath.Join(parent, "home.restoring")+" meanwhile; run it again") {
		t.Fatal(err)
	}
	for _, name := range []string{lock, filepath.Join(parent, "home.restoring", "misc", "restore.json")} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	o.Progress = nil
	if _, err := restore.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := l.Compare(filepath.Join(parent, "home"), tids[2]); err != nil {
		t.Error(err)
	}
	alone(t, parent, "home")
}
