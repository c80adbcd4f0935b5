package restore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/loadtest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// causes are the errors that operations fail with.
func causes() []syscall.Errno {
	if testing.Short() {
		return []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EMFILE}
	}
	return []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}
}

// anyOp: each operation can fail, those that only look too.
func anyOp(errfs.Op) bool { return true }

// faults runs a job with each class of faults. The distance of the operations is
// bounded; $DIRSTORAGE_ROUNDS has more seeds, which move them.
func faults(t *testing.T, every int, begin func(disk *crashfs.FS) (*faulttest.Job, error)) {
	every *= hometest.OneOf(1, 12, 160)
	for seed := range hometest.Rounds(t, 1) {
		o := faulttest.Options{Every: every, Seed: uint64(seed), Phase: hometest.Phase(t), Retries: 2}
		t.Run(fmt.Sprintf("killed %d", seed), func(t *testing.T) {
			t.Parallel()
			faulttest.Killed(t, o, begin)
		})
		for i, cause := range causes() {
			t.Run(fmt.Sprintf("%s once %d", cause, seed), func(t *testing.T) {
				t.Parallel()
				o := o
				o.Every, o.Seed, o.Fails = every*5, uint64(5*seed+i), anyOp
				faulttest.Failed(t, o, cause, begin)
			})
			t.Run(fmt.Sprintf("%s for ever %d", cause, seed), func(t *testing.T) {
				t.Parallel()
				failForEver(t, every*5, uint64(5*seed+i), cause, begin)
			})
		}
	}
}

// failForEver lets each operation from one on fail, until another process goes on
// when that is mended; then, or before, the power is cut.
func failForEver(t *testing.T, every int, seed uint64, cause error, begin func(disk *crashfs.FS) (*faulttest.Job, error)) {
	t.Helper()
	from := func(n int) (ops int) { // 0: none fails
		disk := crashfs.New(int64(seed) + 1)
		job, err := begin(disk)
		if err != nil {
			t.Fatal(err)
		}
		broken := errfs.New(disk, func(errfs.Op) error {
			if ops++; n > 0 && ops >= n {
				return cause
			}
			return nil
		})
		done := job.Run(broken) == nil
		mode := crashfs.Random(uint32(n))
		if err := job.Check(disk.Crashed(mode), done); err != nil {
			t.Fatalf("from operation %d on, power cut with %v: %v", n, mode, err)
		}
		if err := job.Run(disk); err != nil {
			t.Fatalf("from operation %d on, and then mended: %v", n, err)
		}
		if err := job.Check(disk.Crashed(crashfs.KeepNone), true); err != nil {
			t.Fatalf("from operation %d on, mended, and a power cut: %v", n, err)
		}
		return ops
	}
	for n := range faulttest.Sample(from(0), every, seed, hometest.Phase(t)) {
		from(n)
	}
}

// repositoryJob is work on a repository. Acknowledged backups stay; only those that
// promised does not name may go.
func repositoryJob(t *testing.T, l *loadtest.Load, dir string, promised []zodb.TID, run func(s objstore.Store) (acknowledged zodb.TID, err error)) func(disk *crashfs.FS) (*faulttest.Job, error) {
	before := inMemory(t, dir)
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		copyTree(t, before, disk, "")
		if err := disk.SyncAll(); err != nil {
			return nil, err
		}
		var acknowledged zodb.TID
		return &faulttest.Job{
			Run: func(f vfs.FS) error {
				tid, err := run(objstore.NewDir(f))
				if err == nil {
					acknowledged = max(acknowledged, tid)
				}
				return err
			},
			Check: func(after *crashfs.FS, _ bool) error {
				must := promised
				if acknowledged != 0 {
					must = append([]zodb.TID{acknowledged}, promised...)
				}
				return goodRepository(t, l, after, must)
			},
		}, nil
	}
}

// TestFaultsOfBackupLeaveTheRepositoryGood kills, breaks and cuts off backup, merge
// and prune: acknowledged backups can be restored, nothing is half, and the next
// command cleans up.
func TestFaultsOfBackupLeaveTheRepositoryGood(t *testing.T) {
	hometest.InTurn(t, 4)
	enginetest.EachFormat(t, testFaultsOfBackupLeaveTheRepositoryGood)
}

func testFaultsOfBackupLeaveTheRepositoryGood(t *testing.T, format string) {
	l, dir, tids := chain(t, format)
	l.Write(t, 5)
	l.End()
	if err := l.Storage.Close(); err != nil {
		t.Fatal(err)
	}
	merge := func(s objstore.Store) (zodb.TID, error) {
		name, err := newestName(t, s)
		if err != nil {
			return 0, err
		}
		m, err := backup.Merge(t.Context(), s, backup.MergeOptions{Name: name, Now: time.Now, FrameSize: 16 << 10})
		if err != nil && strings.Contains(err.Error(), "nothing to merge") {
			return tids[2], nil // it was merged before
		}
		if err != nil {
			return 0, err
		}
		return m.TID, nil
	}
	for name, sc := range map[string]struct {
		run      func(s objstore.Store) (zodb.TID, error)
		promised []zodb.TID
	}{
		"backup": {func(s objstore.Store) (zodb.TID, error) {
			done, err := tryBackUp(t.Context(), l.Home, s, backup.Incremental)
			switch {
			case err != nil:
				return 0, err
			case done.Backup != nil:
				return done.Backup.TID, nil
			}
			return done.Unchanged.TID, nil
		}, tids},
		"merge": {merge, tids},
		"prune": {func(s objstore.Store) (zodb.TID, error) {
			if tid, err := merge(s); err != nil {
				return tid, err
			}
			_, err := backup.Prune(t.Context(), s, backup.PruneOptions{Chains: 1, Broken: true})
			return tids[2], err
		}, tids[2:]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults(t, 9, repositoryJob(t, l, dir, sc.promised, sc.run))
		})
	}
}

// newestName returns the name of the newest backup.
func newestName(t testing.TB, s objstore.Store) (string, error) {
	r, err := backup.Open(t.Context(), s)
	if err != nil {
		return "", err
	}
	ids := r.Identities()
	if len(ids) == 0 {
		return "", fmt.Errorf("no manifest can be read: %v", r.Damaged)
	}
	p, err := r.Newest(ids[0])
	if err != nil {
		return "", err
	}
	return p.Chain[len(p.Chain)-1].Name, nil
}

// TestFaultsOfRestoreLeaveTheTargetGood does the same to a restore, to the end of
// the chain, to between two backups, and over an old copy. A restore that was
// acknowledged stays whole; before there is none, or the old one.
func TestFaultsOfRestoreLeaveTheTargetGood(t *testing.T) {
	hometest.InTurn(t, 4)
	enginetest.EachFormat(t, testFaultsOfRestoreLeaveTheTargetGood)
}

func testFaultsOfRestoreLeaveTheTargetGood(t *testing.T, format string) {
	l, repo, tids := closedChain(t, format)
	old := t.TempDir()
	plan, err := repo.At(repo.Identities()[0], tids[0])
	if err == nil {
		_, err = restore.Run(t.Context(), restoreOptions(t, repo, plan, old, "home"))
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, sc := range map[string]struct {
		to    zodb.TID
		start string
		old   zodb.TID
	}{"newest": {tids[2], t.TempDir(), 0}, "between": {l.TIDs[8], t.TempDir(), 0}, "delta": {tids[2], old, tids[0]}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := planTo(t, repo, sc.to)
			few := int64(-1) // as of a large home
			if format == "bundled" {
				few = 0
			}
			faults(t, 23, restoreJob(t, repo, p, sc.start, sc.old, few))
		})
	}
}

// restoreJob is a restore by a plan into a file system that holds the files of start: of
// the transaction old, or nothing if that is 0.
func restoreJob(
	t *testing.T, repo *backup.Repository, p *backup.Plan, start string, old zodb.TID, few int64,
) func(disk *crashfs.FS) (*faulttest.Job, error) {
	before := inMemory(t, start)
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		copyTree(t, before, disk, "")
		if err := disk.SyncAll(); err != nil {
			return nil, err
		}
		acknowledged := false
		run := func(f vfs.FS) error {
			_, err := restore.Run(t.Context(), restore.Options{
				Repository: repo, Plan: p, Parent: f, Name: "home", Delta: old != 0, Now: time.Now,
				Checkpoint: 4 << 10, Workers: 1, Few: few,
			})
			if errors.Is(err, restore.ErrExists) && wholeHome(t, f, "home", p.To) == nil {
				err = nil // it says so to the one that runs it again
			}
			return err
		}
		return &faulttest.Job{
			Run: func(f vfs.FS) error {
				err := run(f)
				acknowledged = acknowledged || err == nil
				return err
			},
			Check: func(after *crashfs.FS, _ bool) error {
				err := wholeHome(t, after, "home", p.To)
				if err == nil {
					return nil
				}
				_, none := after.Stat("home")
				switch {
				case acknowledged:
					return fmt.Errorf("it was acknowledged: %w", err)
				case old != 0:
					if oerr := wholeHome(t, after, "home", old); oerr != nil {
						return fmt.Errorf("neither the old one (%w) nor the new one (%w)", oerr, err)
					}
				case !errors.Is(none, fs.ErrNotExist):
					return err
				}
				if err := run(after); err != nil {
					return fmt.Errorf("run again: %w", err)
				}
				return wholeHome(t, after, "home", p.To)
			},
		}, nil
	}
}

// TestRestoreGoesOnAfterASyncThatFailed: the first attempt is as good as ready when the
// sync of everything fails, and all that comes after. Its files in memory read as if they
// were there.
func TestRestoreGoesOnAfterASyncThatFailed(t *testing.T) {
	t.Parallel()
	// With bundles the cut makes less durable on its way.
	for format, least := range map[string]int{"chunky": 4, "bundled": 3} {
		t.Run(format, func(t *testing.T) {
			testRestoreGoesOnAfterASyncThatFailed(t, format, -1, 1, least, "syncall")
		})
		t.Run(format+", each file", func(t *testing.T) {
			step := hometest.OneOf(1, 3, 5)
			testRestoreGoesOnAfterASyncThatFailed(t, format, 0, step, 8, "sync", "syncdir")
		})
	}
}

func testRestoreGoesOnAfterASyncThatFailed(
	t *testing.T, format string, few int64, step, least int, kinds ...string,
) {
	l, dir, _ := chain(t, format)
	l.End()
	repo := openRepository(t, objstore.NewDir(directory(t, dir)))
	p := planTo(t, repo, l.TIDs[8])
	begin := restoreJob(t, repo, p, t.TempDir(), 0, few)
	syncs := 0
	for failing := 1 + hometest.Phase(t)%step; ; failing += step {
		disk := crashfs.New(int64(failing))
		job, err := begin(disk)
		if err != nil {
			t.Fatal(err)
		}
		syncs = 0
		broken := errfs.New(disk, func(op errfs.Op) error {
			if slices.Contains(kinds, op.Kind) {
				syncs++
			}
			if syncs >= failing {
				return syscall.EIO
			}
			return nil
		})
		if err := job.Run(broken); (err == nil) != (syncs < failing) {
			t.Errorf("%d syncs, the %d. fails: %v", syncs, failing, err)
		}
		if syncs < failing {
			break
		}
		if err := job.Run(disk); err != nil {
			t.Fatalf("the %d. sync failed, and then it was mended: %v", failing, err)
		}
		if err := job.Check(disk.Crashed(crashfs.KeepNone), true); err != nil {
			t.Errorf("the %d. sync failed, it was mended, and a power cut: %v", failing, err)
		}
	}
	if syncs < least {
		t.Errorf("%d syncs: the test does not reach them", syncs)
	}
}
