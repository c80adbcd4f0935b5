package restore_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// copyTree copies all files from one file system to another.
func copyTree(t testing.TB, from, to vfs.FS, below string) {
	t.Helper()
	for name, err := range vfs.Walk(from, ".") {
		if err != nil {
			t.Fatal(err)
		}
		b, err := from.ReadFile(name)
		if err == nil {
			name = filepath.Join(below, name)
			_, err = vfs.MkdirAll(to, filepath.Dir(name))
		}
		var f vfs.File
		if err == nil {
			f, err = to.Create(name)
		}
		if err == nil {
			_, err = f.Write(b)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// inMemory returns a copy of the files of a directory.
func inMemory(t testing.TB, dir string) *crashfs.FS {
	t.Helper()
	f := crashfs.New(1)
	copyTree(t, directory(t, dir), f, "")
	return f
}

// chain makes a small storage and a repository with a full backup and two
// incremental ones. It returns the last transaction of each.
func chain(t testing.TB, format string) (l *loadtest.Load, dir string, tids []zodb.TID) {
	t.Helper()
	l = loadtest.New(t, 12, engine.CreateOptions{Format: format})
	l.Start(t, 1)
	dir = t.TempDir()
	store := objstore.NewDir(directory(t, dir))
	for i := range 3 {
		l.Write(t, 6)
		kind := backup.Incremental
		if i == 0 {
			kind = backup.Full
		}
		m := backUp(t, l.Home, store, kind).Backup
		tids = append(tids, m.TID)
	}
	return l, dir, tids
}

// closedChain is chain with the repository, and the storage is closed.
func closedChain(t testing.TB, format string) (l *loadtest.Load, repo *backup.Repository, tids []zodb.TID) {
	t.Helper()
	l, dir, tids := chain(t, format)
	l.End()
	return l, openRepository(t, objstore.NewDir(directory(t, dir))), tids
}

// planTo returns the plan of a restore to a transaction, of the one storage that a repository is of.
func planTo(t testing.TB, repo *backup.Repository, to zodb.TID) *backup.Plan {
	t.Helper()
	p, err := repo.At(repo.Identities()[0], to)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// crashes runs a scenario on a copy of a directory with a crash at each operation, and at
// none, and looks at the remains of each. A short run and one with the race detector take a
// sample of the operations.
func crashes(t *testing.T, dir string, scenario func(f vfs.FS) error, look func(f *crashfs.FS) error) {
	t.Helper()
	start := inMemory(t, dir)
	crash := func(at int) (ops int) { // 0: at none
		f := crashfs.New(int64(at))
		copyTree(t, start, f, "")
		if err := f.SyncAll(); err != nil {
			t.Fatal(err)
		}
		begun := f.Ops()
		if at > 0 {
			f.CrashAt(begun + at)
		}
		if err := scenario(f); err != nil && (at == 0 || !errors.Is(err, crashfs.ErrCrashed)) {
			t.Fatalf("crash at %d: %v", at, err)
		}
		ops = f.Ops() - begun
		for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(at))} {
			if err := look(f.Crashed(mode)); err != nil {
				t.Fatalf("crash at %d, %v: %v", at, mode, err)
			}
		}
		return ops
	}
	ops := crash(0)
	t.Logf("%d operations", ops)
	if ops < 4 {
		t.Fatal("nothing happened")
	}
	for at := range faulttest.Sample(ops, hometest.OneOf(1, 17, 197), 0, hometest.Phase(t)) {
		crash(at)
	}
}

// TestCrashDuringBackupLeavesTheRepositoryGood crashes the file system of the
// repository during an incremental backup, a merge and a prune.
func TestCrashDuringBackupLeavesTheRepositoryGood(t *testing.T) {
	enginetest.EachFormat(t, testCrashDuringBackupLeavesTheRepositoryGood)
}

func testCrashDuringBackupLeavesTheRepositoryGood(t *testing.T, format string) {
	l, dir, tids := chain(t, format)
	l.Write(t, 5)
	l.End()
	for name, sc := range map[string]struct {
		run  func(store objstore.Store) error
		must []zodb.TID // that can always be restored
	}{
		"inc": {func(s objstore.Store) error {
			_, err := tryBackUp(t.Context(), l.Home, s, backup.Incremental)
			return err
		}, tids},
		"full": {func(s objstore.Store) error {
			_, err := tryBackUp(t.Context(), l.Home, s, backup.Full)
			return err
		}, tids},
		"merge": {func(s objstore.Store) error {
			p, err := mustOpen(t, s)
			if err != nil {
				return err
			}
			_, err = backup.Merge(t.Context(), s, backup.MergeOptions{Name: p, Now: time.Now, FrameSize: 16 << 10})
			return err
		}, tids},
		"merge and prune": {func(s objstore.Store) error {
			p, err := mustOpen(t, s)
			if err == nil {
				_, err = backup.Merge(t.Context(), s, backup.MergeOptions{Name: p, Now: time.Now, FrameSize: 16 << 10})
			}
			if err == nil {
				_, err = backup.Prune(t.Context(), s, backup.PruneOptions{Chains: 1})
			}
			return err
		}, tids[2:]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crashes(t, dir, func(f vfs.FS) error { return sc.run(objstore.NewDir(f)) }, func(f *crashfs.FS) error {
				return goodRepository(t, l, f, sc.must)
			})
		})
	}
}

// mustOpen returns the name of the newest backup.
func mustOpen(t testing.TB, s objstore.Store) (string, error) {
	r, err := backup.Open(t.Context(), s)
	if err != nil {
		return "", err
	}
	return r.Backups[len(r.Backups)-1].Name, nil
}

// goodRepository verifies all data of a repository, restores the states that must be
// there, and sees that the next command cleans up.
func goodRepository(t testing.TB, l *loadtest.Load, f *crashfs.FS, must []zodb.TID) error {
	store := objstore.NewDir(f)
	r, err := backup.Open(t.Context(), store)
	if err != nil {
		return err
	}
	if len(r.Damaged) > 0 {
		return fmt.Errorf("manifests that can't be used: %v", r.Damaged)
	}
	outcomes, err := r.Verify(t.Context(), r.Backups, backup.VerifyOptions{Level: backup.LevelData, Now: time.Now})
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		if o.Error != nil {
			return fmt.Errorf("%s: %w", o.Name, o.Error)
		}
	}
	for _, tid := range must {
		if _, err := r.At(r.Identities()[0], tid); err != nil {
			return err
		}
	}
	if _, err := tryBackUp(t.Context(), l.Home, store, ""); err != nil {
		return fmt.Errorf("the next backup: %w", err)
	}
	if r, err = backup.Open(t.Context(), store); err != nil {
		return err
	}
	belongs := map[string]bool{".lock": true}
	for _, m := range r.Backups {
		for _, suffix := range []string{".json", ".verified.json", ".tar.zst", ".index.zst"} {
			belongs[m.Name+suffix] = true
		}
	}
	for e, err := range f.List(".") {
		if err != nil {
			return err
		}
		if !belongs[e.Name] {
			return fmt.Errorf("%s is left", e.Name)
		}
	}
	p, err := r.Newest(r.Identities()[0])
	if err == nil && p.To != l.TIDs[len(l.TIDs)-1] {
		err = fmt.Errorf("the newest backup ends with %s", p.To)
	}
	return err
}

// wholeHome returns an error unless a HOME below f is sound and ends with tid.
func wholeHome(t testing.TB, f vfs.FS, name string, tid zodb.TID) error {
	sum, err := checktest.Clean(t.Context(), vfs.Sub(f, name))
	if err == nil && sum.LastTID != tid {
		err = fmt.Errorf("it ends with %s, want %s", sum.LastTID, tid)
	}
	return err
}

// TestCrashDuringRestoreLeavesTheTargetGood crashes the file system of the
// target. There is no target then, or a whole one; running it again completes it.
func TestCrashDuringRestoreLeavesTheTargetGood(t *testing.T) {
	enginetest.EachFormat(t, testCrashDuringRestoreLeavesTheTargetGood)
}

func testCrashDuringRestoreLeavesTheTargetGood(t *testing.T, format string) {
	l, repo, tids := closedChain(t, format)
	between := l.TIDs[8]
	for _, to := range []zodb.TID{tids[2], between} {
		p := planTo(t, repo, to)
		run := func(f vfs.FS) error {
			_, err := restore.Run(t.Context(), restore.Options{Repository: repo, Plan: p, Parent: f, Name: "home", Now: time.Now, Checkpoint: 4 << 10, Workers: 1})
			return err
		}
		look := func(f *crashfs.FS, storage string) error {
			_, err := f.Stat(storage)
			if err == nil {
				if err := wholeHome(t, f, "home", to); err != nil {
					return err
				}
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := run(f); err != nil && !errors.Is(err, restore.ErrExists) {
				return fmt.Errorf("run again: %w", err)
			}
			for _, left := range []string{"home.restoring", "home/.restoring", "home/config.new"} {
				if _, err := f.Stat(left); err == nil {
					return fmt.Errorf("%s is left", left)
				}
			}
			return wholeHome(t, f, "home", to)
		}
		crashes(t, t.TempDir(), run, func(f *crashfs.FS) error { return look(f, "home") })
		if to == between {
			continue
		}
		// A target that is an empty directory is a storage when it has a config.
		mounted := t.TempDir()
		if err := os.MkdirAll(filepath.Join(mounted, "home", "lost+found"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(mounted, "home", "lost+found", "#1"), []byte("lost"), 0o600); err != nil {
			t.Fatal(err)
		}
		crashes(t, mounted, run, func(f *crashfs.FS) error { return look(f, "home/config") })
	}
}

// TestARestoreThatHadJustBegunGoesOn: of the directories that it made, a power cut leaves any.
func TestARestoreThatHadJustBegunGoesOn(t *testing.T) {
	_, repo, tids := closedChain(t, "bundled")
	p := planTo(t, repo, tids[0])
	run := func(f vfs.FS) error {
		_, err := restore.Run(t.Context(), restore.Options{Repository: repo, Plan: p, Parent: f, Name: "home", Now: time.Now, Workers: 1})
		return err
	}
	for at := range 20 {
		f := crashfs.New(int64(at))
		f.CrashAt(f.Ops() + at + 1)
		if err := run(f); !errors.Is(err, crashfs.ErrCrashed) {
			t.Fatalf("crash at %d: %v", at, err)
		}
		for seed := range uint32(8) {
			left := f.Crashed(crashfs.Random(seed))
			if err := run(left); err != nil {
				t.Fatalf("crash at %d, seed %d: run again: %v", at, seed, err)
			}
			if err := wholeHome(t, left, "home", tids[0]); err != nil {
				t.Fatalf("crash at %d, seed %d: %v", at, seed, err)
			}
		}
	}
}

// TestARestoreThatWasEndedByTheNextOneIsDurable: a process was killed when the HOME had its name, or parts of it had. All that
// the next one acknowledges stays over a power cut.
func TestARestoreThatWasEndedByTheNextOneIsDurable(t *testing.T) {
	_, repo, tids := closedChain(t, "bundled")
	p := planTo(t, repo, tids[0])
	run := func(f vfs.FS) error {
		_, err := restore.Run(t.Context(), restore.Options{Repository: repo, Plan: p, Parent: f, Name: "home", Now: time.Now, Workers: 1})
		return err
	}
	for _, inPlace := range []bool{false, true} {
		begin := func() *crashfs.FS {
			f := crashfs.New(1)
			if inPlace {
				if err := f.Mkdir("home"); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.SyncAll(); err != nil {
				t.Fatal(err)
			}
			return f
		}
		f := begin()
		begun := f.Ops()
		if err := run(f); err != nil {
			t.Fatal(err)
		}
		ops := f.Ops() - begun
		for at := max(1, ops-40); at <= ops; at++ {
			f := begin()
			f.CrashAt(f.Ops() + at)
			if err := run(f); !errors.Is(err, crashfs.ErrCrashed) {
				t.Fatalf("killed at %d of %d: %v", at, ops, err)
			}
			f = f.Killed()
			if err := run(f); err != nil && !errors.Is(err, restore.ErrExists) {
				t.Fatalf("in place %t, killed at %d of %d: run again: %v", inPlace, at, ops, err)
			}
			if err := wholeHome(t, f.Crashed(crashfs.KeepNone), "home", tids[0]); err != nil {
				t.Errorf("in place %t, killed at %d of %d: %v", inPlace, at, ops, err)
			}
		}
	}
}

// TestAnotherPlanAfterAKilledRestore begins anew, in any way; where parts of the HOME of the first one have their
// places in the target, it says so, and a HOME that is whole is left.
func TestAnotherPlanAfterAKilledRestore(t *testing.T) {
	_, repo, tids := closedChain(t, "bundled")
	plans := []*backup.Plan{planTo(t, repo, tids[2]), planTo(t, repo, tids[1])}
	run := func(f vfs.FS, plan int, convert bool) error {
		o := restore.Options{Repository: repo, Plan: plans[plan], Parent: f, Name: "home", Now: time.Now, Workers: 1, Checkpoint: 4 << 10}
		if convert {
			o.Format, o.Convert = layout.Flat, copied
		}
		_, err := restore.Run(t.Context(), o)
		return err
	}
	another := 0
	crash := func(at int, inPlace, first, second bool) (ended bool) {
		f := crashfs.New(int64(at))
		if inPlace {
			if err := f.Mkdir("home"); err != nil {
				t.Fatal(err)
			}
		}
		f.CrashAt(f.Ops() + at)
		if err := run(f, 0, first); !errors.Is(err, crashfs.ErrCrashed) {
			return true
		}
		f = f.Killed()
		err := run(f, 1, second)
		switch {
		case errors.Is(err, restore.ErrExists):
			err = wholeHome(t, f, "home", tids[2])
		case err == nil:
			err = wholeHome(t, f, "home", tids[1])
		case inPlace && strings.Contains(err.Error(), "interrupted restore of another state"):
			another++
			err = nil
		}
		if err != nil {
			t.Errorf("in place %t, into another format %t, then %t, killed at %d: %v", inPlace, first, second, at, err)
		}
		return false
	}
	for way := range 8 {
		distance := hometest.OneOf(5, 61, 97)
		for at := 1 + hometest.Phase(t)%distance; !crash(at, way&1 > 0, way&2 > 0, way&4 > 0); {
			at += distance
		}
	}
	if another == 0 && !testing.Short() && !hometest.RaceDetector {
		t.Error("no restore was killed when parts had their places")
	}
}

// TestCrashDuringDeltaLeavesTheTargetGood does the same to a restore that brings
// an old copy up to date: there is always the old one or the new one.
func TestCrashDuringDeltaLeavesTheTargetGood(t *testing.T) {
	enginetest.EachFormat(t, testCrashDuringDeltaLeavesTheTargetGood)
}

func testCrashDuringDeltaLeavesTheTargetGood(t *testing.T, format string) {
	_, repo, tids := closedChain(t, format)
	start := t.TempDir()
	old, err := repo.At(repo.Identities()[0], tids[0])
	if err == nil {
		_, err = restore.Run(t.Context(), restoreOptions(t, repo, old, start, "home"))
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := repo.Newest(repo.Identities()[0])
	if err != nil {
		t.Fatal(err)
	}
	run := func(f vfs.FS) error {
		_, err := restore.Run(t.Context(), restore.Options{Repository: repo, Plan: p, Parent: f, Name: "home", Delta: true, Now: time.Now, Workers: 1})
		return err
	}
	crashes(t, start, run, func(f *crashfs.FS) error {
		isOld, isNew := wholeHome(t, f, "home", tids[0]), wholeHome(t, f, "home", tids[2])
		if isOld != nil && isNew != nil {
			return fmt.Errorf("neither the old one (%w) nor the new one (%w)", isOld, isNew)
		}
		if err := run(f); err != nil {
			return fmt.Errorf("run again: %w", err)
		}
		if _, err := f.Stat("home.restoring"); err == nil {
			return errors.New("home.restoring is left")
		}
		return wholeHome(t, f, "home", tids[2])
	})
}

// noExchange is a file system that cannot exchange names.
type noExchange struct{ vfs.FS }

// Exchange implements [vfs.FS].
func (noExchange) Exchange(string, string) error { return vfs.ErrNotSupported }

// TestCrashDuringDeltaByTwoRenamesLeavesNothing: for a moment the target has no name, and the next run gives it
// one back. No copy is left beside it, and the run after that succeeds, too.
func TestCrashDuringDeltaByTwoRenamesLeavesNothing(t *testing.T) {
	t.Parallel()
	_, repo, tids := closedChain(t, "bundled")
	start := t.TempDir()
	_, err := restore.Run(t.Context(), restoreOptions(t, repo, planTo(t, repo, tids[0]), start, "home"))
	if err != nil {
		t.Fatal(err)
	}
	run := func(f vfs.FS, to zodb.TID) error {
		_, err := restore.Run(t.Context(), restore.Options{Repository: repo, Plan: planTo(t, repo, to), Parent: noExchange{f}, Name: "home", Delta: true, Now: time.Now, Workers: 1})
		return err
	}
	crashes(t, start, func(f vfs.FS) error { return run(f, tids[2]) }, func(f *crashfs.FS) error {
		for _, to := range []zodb.TID{tids[2], tids[1]} {
			if err := run(f, to); err != nil {
				return fmt.Errorf("run again: %w", err)
			}
			if err := wholeHome(t, f, "home", to); err != nil {
				return err
			}
			for e, err := range f.List(".") {
				if err != nil {
					return err
				}
				if e.Name != "home" {
					return fmt.Errorf("%s is left", e.Name)
				}
			}
		}
		return nil
	})
}

// TestCrashDuringRestoreLeavesADirectoryOfThatNameAlone: somebody has moved the damaged HOME aside, to the very name
// that --delta uses.
func TestCrashDuringRestoreLeavesADirectoryOfThatNameAlone(t *testing.T) {
	t.Parallel()
	_, repo, tids := closedChain(t, "bundled")
	start := t.TempDir()
	for _, name := range []string{"home", "moved"} {
		if _, err := restore.Run(t.Context(), restoreOptions(t, repo, planTo(t, repo, tids[0]), start, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(start, "moved"), filepath.Join(start, "home.replaced")); err != nil {
		t.Fatal(err)
	}
	run := func(f vfs.FS, delta bool) error {
		_, err := restore.Run(t.Context(), restore.Options{Repository: repo, Plan: planTo(t, repo, tids[2]), Parent: f, Name: "home", Delta: delta, Now: time.Now, Workers: 1})
		return err
	}
	f := inMemory(t, start)
	if err := run(noExchange{f}, true); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("where names cannot be exchanged: %v", err)
	}
	for _, name := range []string{"home", "home.replaced"} {
		if err := wholeHome(t, f, name, tids[0]); err != nil {
			t.Error(err)
		}
	}
	for _, delta := range []bool{false, true} {
		crashes(t, start, func(f vfs.FS) error {
			if !delta {
				if err := vfs.RemoveAll(f, "home"); err != nil {
					return err
				}
			}
			return run(f, delta)
		}, func(f *crashfs.FS) error {
			if err := run(f, delta); err != nil && !errors.Is(err, restore.ErrExists) {
				return fmt.Errorf("run again: %w", err)
			}
			return wholeHome(t, f, "home.replaced", tids[0])
		})
	}
}

// TestARestoredHomeThatWasUsedIsNotTakenForJustRestored: the restore was killed when the HOME had its name, and a
// storage has committed since. The next one goes back to the backup, and removes the old copy.
func TestARestoredHomeThatWasUsedIsNotTakenForJustRestored(t *testing.T) {
	t.Parallel()
	l, repo, tids := closedChain(t, "bundled")
	start := t.TempDir()
	o := restoreOptions(t, repo, planTo(t, repo, tids[0]), start, "home")
	if _, err := restore.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o.Plan, o.Delta = planTo(t, repo, tids[2]), true
	killed := errors.New("killed")
	exchanged := false
	o.Parent = errfs.New(o.Parent, func(op errfs.Op) error {
		if exchanged {
			return killed
		}
		exchanged = op.Kind == "exchange"
		return nil
	})
	if _, err := restore.Run(t.Context(), o); !errors.Is(err, killed) || !exchanged {
		t.Fatalf("%v", err)
	}
	o.Parent = directory(t, start)
	for _, name := range []string{"home.restoring/A", "home/misc/restore.json"} {
		if _, err := o.Parent.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
	s := enginetest.Open(t, filepath.Join(start, "home"), engine.Options{History: engine.HistoryCopied})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("later")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Delta = false
	if _, err := restore.Run(t.Context(), o); !errors.Is(err, restore.ErrExists) {
		t.Errorf("without Delta: %v", err)
	}
	o.Delta = true
	done, err := restore.Run(t.Context(), o)
	if err != nil || done.TID != tids[2] {
		t.Fatalf("%+v, %v", done, err)
	}
	if err := l.Compare(filepath.Join(start, "home"), tids[2]); err != nil {
		t.Error(err)
	}
	if _, err := o.Parent.Stat("home.restoring"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old copy is left: %v", err)
	}
}

// TestDeltaMovesOnlyWhatDiffers counts the unpacked files, for an old copy, a newer
// one and a damaged one.
func TestDeltaMovesOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	l, repo, tids := closedChain(t, "chunky")
	work := t.TempDir()
	for i, step := range []struct {
		to   zodb.TID
		most int64 // files that may be unpacked
	}{{tids[0], 1000}, {tids[2], 120}, {tids[2], 30}, {tids[0], 40}, {tids[1], 80}} {
		p := planTo(t, repo, step.to)
		o := restoreOptions(t, repo, p, work, "home")
		o.Delta = i > 0
		if i == 2 { // a damaged file is one that differs
			f := directory(t, filepath.Join(work, "home"))
			name := "A/o000/000/000/000/0000.c"
			if err := errors.Join(f.Remove(name), vfs.WriteFileAtomic(f, "A/new", name, []byte("wrong..."), vfs.SyncOptions{})); err != nil {
				t.Fatal(err)
			}
		}
		done, err := restore.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if done.Files > step.most || i > 0 && done.Linked == 0 {
			t.Errorf("step %d: %d files were unpacked, %d linked", i, done.Files, done.Linked)
		}
		if err := l.Compare(filepath.Join(work, "home"), step.to); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
}

// TestDamagedBackupIsNamedAndNotRestored damages a repository in every way that
// comes to mind.
func TestDamagedBackupIsNamedAndNotRestored(t *testing.T) {
	enginetest.EachFormat(t, testDamagedBackupIsNamedAndNotRestored)
}

func testDamagedBackupIsNamedAndNotRestored(t *testing.T, format string) {
	l, dir, _ := chain(t, format)
	l.End()
	_, foreign, _ := chain(t, format)
	repo := openRepository(t, objstore.NewDir(directory(t, dir)))
	other := openRepository(t, objstore.NewDir(directory(t, foreign)))
	full, inc, last := repo.Backups[0], repo.Backups[1], repo.Backups[2]
	type spoil func(f vfs.FS) error
	change := func(name string, how func(b []byte) []byte) spoil {
		return func(f vfs.FS) error {
			b, err := f.ReadFile(name)
			if err != nil {
				return err
			}
			return vfs.WriteFileAtomic(f, "aside", name, how(b), vfs.SyncOptions{})
		}
	}
	cases := map[string]struct {
		do    spoil
		names string // a part of the outcome
	}{
		"manifest missing": {func(f vfs.FS) error { return f.Remove(inc.Name + ".json") }, inc.Name},
		"manifest cut":     {change(inc.Name+".json", func(b []byte) []byte { return b[:len(b)/2] }), inc.Name},
		"link missing": {func(f vfs.FS) error {
			return errors.Join(f.Remove(inc.Name+".json"), f.Remove(inc.Archive.Name), f.Remove(inc.Index.Name))
		}, inc.Name},
		"index missing": {func(f vfs.FS) error { return f.Remove(full.Index.Name) }, full.Index.Name},
		"foreign incremental": {func(f vfs.FS) error {
			// Under the name of the one that it replaces.
			b, err := vfs.FS(directory(t, foreign)).ReadFile(other.Backups[1].Name + ".json")
			if err != nil {
				return err
			}
			b, _, _ = bytes.Cut(bytes.ReplaceAll(b, []byte(other.Backups[1].Name), []byte(inc.Name)), []byte(",\n  \"manifest_sha256\""))
			b = fmt.Appendf(bytes.Clone(b), ",\n  \"manifest_sha256\": \"%x\"\n}\n", sha256.Sum256(b))
			return vfs.WriteFileAtomic(f, "aside", inc.Name+".json", b, vfs.SyncOptions{})
		}, "another storage"},
	}
	for _, m := range []*backup.Manifest{full, inc, last} {
		for _, file := range []backup.File{m.Archive, m.Index} {
			cases["cut "+file.Name] = struct {
				do    spoil
				names string
			}{change(file.Name, func(b []byte) []byte { return b[:len(b)-7] }), file.Name}
			for _, part := range []int64{0, 3, 7, 9} {
				at := file.Bytes * part / 10
				cases[fmt.Sprintf("byte %d of %s", at, file.Name)] = struct {
					do    spoil
					names string
				}{change(file.Name, func(b []byte) []byte { b[at] ^= 0x10; return b }), file.Name}
			}
		}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spoiled := directory(t, t.TempDir())
			copyTree(t, directory(t, dir), spoiled, "")
			if err := tc.do(spoiled); err != nil {
				t.Fatal(err)
			}
			r, err := backup.Open(t.Context(), objstore.NewDir(spoiled))
			if err != nil {
				t.Fatal(err)
			}
			newest, err := r.Get(last.Name)
			if err != nil {
				t.Fatal(err)
			}
			outcomes, err := r.Verify(t.Context(), []*backup.Manifest{newest}, backup.VerifyOptions{Level: backup.LevelData, Now: time.Now})
			if err != nil || len(outcomes) != 1 || outcomes[0].Error == nil {
				t.Fatalf("verify found nothing: %v, %v", outcomes, err)
			}
			if found := outcomes[0].Error.Error(); !bytes.Contains([]byte(found), []byte(tc.names)) {
				t.Errorf("verify says %q, which does not name %s", found, tc.names)
			}
			target := t.TempDir()
			p, err := r.Exactly(newest)
			if err == nil {
				_, err = restore.Run(t.Context(), restoreOptions(t, r, p, target, "home"))
			}
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte(tc.names)) {
				t.Errorf("restore says %v, which does not name %s", err, tc.names)
			}
			for e, err := range directory(t, target).List(".") {
				t.Errorf("restore left %s, %v", e.Name, err)
			}
		})
	}
}
