package restore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// into returns a function that makes a HOME of a format of another one, as the command does.
func into(format string) func(ctx context.Context, from, to vfs.FS) error {
	return func(ctx context.Context, from, to vfs.FS) (err error) {
		source, err := engine.Open(ctx, from.Path("."), engine.Options{ReadOnly: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, source.Close()) }()
		if err := engine.Create(to.Path("."), engine.CreateOptions{Format: format, Class: source.Status().Class}); err != nil {
			return err
		}
		s, err := engine.Open(ctx, to.Path("."), engine.Options{History: engine.HistoryCopied})
		if err != nil {
			return err
		}
		_, err = transfer.Convert(ctx, s, source, transfer.ConvertOptions{})
		return errors.Join(err, s.Close())
	}
}

// TestBackupsOfAnyFormatBecomeHomesOfAnyOther: of a chain, to its end and to a transaction in the
// middle, with blobs. The history is the same, and nothing is left beside the target.
func TestBackupsOfAnyFormatBecomeHomesOfAnyOther(t *testing.T) {
	t.Parallel()
	formats := append(layout.Formats(), layout.Bundled)
	for i, of := range formats {
		for j, format := range formats {
			if of == format || testing.Short() && (i+1)%len(formats) != j {
				continue
			}
			t.Run(fmt.Sprintf("%s to %s", of, format), func(t *testing.T) {
				t.Parallel()
				l, repo, tids := closedChain(t, of.String())
				for k, to := range []zodb.TID{tids[2], l.TIDs[8]} {
					p := planTo(t, repo, to)
					parent := t.TempDir()
					if k == 1 { // an empty directory, such as a volume
						if err := os.MkdirAll(filepath.Join(parent, "home", "lost+found"), 0o777); err != nil {
							t.Fatal(err)
						}
					}
					o := restoreOptions(t, repo, p, parent, "home")
					o.Format, o.Convert = format, into(format.String())
					done, err := restore.Run(t.Context(), o)
					if err != nil || done.TID != to || done.Format != format || !done.Converted {
						t.Fatalf("to %s: %+v, %v", to, done, err)
					}
					home := filepath.Join(parent, "home")
					if err := l.Compare(home, to); err != nil {
						t.Errorf("restored to %s: %v", to, err)
					}
					enginetest.Clean(t, home)
					s := enginetest.Open(t, home, engine.Options{ReadOnly: true})
					if got := s.Status().Format; got != format.String() {
						t.Errorf("format %s", got)
					}
					for _, name := range []string{"home.restoring", "home/.restoring", "home/converted", "home/misc/restore.json", "home/config.new"} {
						if _, err := os.Stat(filepath.Join(parent, name)); !errors.Is(err, fs.ErrNotExist) {
							t.Errorf("%s is left: %v", name, err)
						}
					}
				}
			})
		}
	}
}

// TestMinimalIsRestoredIntoAnotherFormat: into one that has the class.
func TestMinimalIsRestoredIntoAnotherFormat(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Class: zodb.ClassMinimal, Format: "chunky"})
	s := enginetest.Open(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")}, enginetest.Change{OID: 1, Data: enginetest.Record("one")})
	last := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: enginetest.Record("two")})
	repository := objstore.NewDir(directory(t, t.TempDir()))
	backUp(t, home, repository, backup.Full)
	repo := openRepository(t, repository)
	p, err := repo.Newest(repo.Identities()[0])
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	o := restoreOptions(t, repo, p, parent, "home")
	o.Format, o.Convert = layout.Flat, into("flat")
	if _, err := restore.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got := enginetest.Open(t, filepath.Join(parent, "home"), engine.Options{ReadOnly: true})
	if r, err := got.Load(t.Context(), 1); err != nil || r.Serial != last || string(r.Data) != string(enginetest.Record("two")) {
		t.Errorf("got %q of %s, %v", r.Data, r.Serial, err)
	}
}

// TestTheSecondStepBeginsAnew: a conversion that fails for want of room, or is stopped, leaves the restored
// HOME for the next run, which does not unpack again.
func TestTheSecondStepBeginsAnew(t *testing.T) {
	t.Parallel()
	l, repo, tids := closedChain(t, "chunky")
	p := planTo(t, repo, tids[2])
	for _, kind := range []string{"full", "stopped"} {
		parent := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o := restoreOptions(t, repo, p, parent, "home")
		o.Format = layout.Bundled
		o.Convert = func(ctx context.Context, from, to vfs.FS) error {
			if err := into("bundled")(ctx, from, to); err != nil {
				return err
			}
			if kind == "full" {
				return fmt.Errorf("write a bundle: %w", zodb.ErrDiskFull)
			}
			cancel()
			return ctx.Err()
		}
		_, err := restore.Run(ctx, o)
		if !errors.Is(err, zodb.ErrDiskFull) && !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v", kind, err)
		}
		if _, err := os.Stat(filepath.Join(parent, "home")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: there is a target: %v", kind, err)
		}
		o.Convert = into("bundled")
		done, err := restore.Run(t.Context(), o)
		if err != nil || !done.Resumed || done.Files != 0 {
			t.Fatalf("%s: %+v, %v", kind, done, err)
		}
		if err := l.Compare(filepath.Join(parent, "home"), tids[2]); err != nil {
			t.Error(err)
		}
	}
}

// TestAnotherFormatIsRefusedWithDeltaAndDamage.
func TestAnotherFormatIsRefusedWithDeltaAndDamage(t *testing.T) {
	t.Parallel()
	_, repo, tids := closedChain(t, "chunky")
	p := planTo(t, repo, tids[2])
	for _, delta := range []bool{false, true} {
		o := restoreOptions(t, repo, p, t.TempDir(), "home")
		o.Format, o.Convert, o.Delta, o.AcceptDamage = layout.Bundled, into("bundled"), delta, !delta
		if _, err := restore.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "of format chunky") {
			t.Errorf("delta %t: %v", delta, err)
		}
	}
}

// copied makes a HOME in the place of one of another format: errors around the making are tested
// with it on disks that crash. It has none of the files of the restore.
func copied(_ context.Context, from, to vfs.FS) error { return copiedBy(from, to, vfs.File.Sync) }

func copiedBy(from, to vfs.FS, sync func(vfs.File) error) error {
	if err := to.Mkdir("."); err != nil {
		return err
	}
	for _, dir := range []string{"A", "B", "config", "journal", "misc"} {
		if _, err := vfs.MkdirAll(to, dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{"A", "config"} {
		for name, err := range vfs.Walk(from, dir) {
			if err != nil {
				return err
			}
			b, err := from.ReadFile(name)
			if err == nil {
				_, err = vfs.MkdirAll(to, path.Dir(name))
			}
			var f vfs.File
			if err == nil {
				f, err = to.Create(name)
			}
			if err != nil {
				return err
			}
			_, err = f.Write(b)
			if err := errors.Join(err, sync(f), f.Close()); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestAnotherFormatIsDurableWhoeverMadeIt: a HOME whose settings say that nothing is synced is made
// without a sync, and is durable when the restore is done.
func TestAnotherFormatIsDurableWhoeverMadeIt(t *testing.T) {
	t.Parallel()
	_, repo, tids := closedChain(t, "bundled")
	p := planTo(t, repo, tids[2])
	for _, all := range []bool{true, false} {
		for _, few := range []int64{-1, 1 << 20} {
			disk := crashfs.New(1)
			parent := vfs.FS(disk)
			if !all {
				parent = withoutSyncAll{disk}
			}
			_, err := restore.Run(t.Context(), restore.Options{
				Repository: repo, Plan: p, Parent: parent, Name: "home", Now: time.Now, Few: few, Format: layout.Flat,
				Convert: func(_ context.Context, from, to vfs.FS) error {
					return copiedBy(from, to, func(vfs.File) error { return nil })
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := wholeHome(t, disk.Crashed(crashfs.KeepNone), "home", p.To); err != nil {
				t.Errorf("all at once %t, few %d: after a power cut: %v", all, few, err)
			}
		}
	}
}

// withoutSyncAll is a file system that cannot sync everything at once.
type withoutSyncAll struct{ vfs.FS }

func (withoutSyncAll) SyncAll() error { return vfs.ErrNotSupported }

// TestFaultsOfRestoreIntoAnotherFormat kills, breaks and cuts off such a restore, into a new name and into
// an empty directory.
func TestFaultsOfRestoreIntoAnotherFormat(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	l, repo, tids := closedChain(t, "bundled")
	for name, to := range map[string]zodb.TID{"newest": tids[2], "between": l.TIDs[8]} {
		for _, empty := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in an empty directory %t", name, empty), func(t *testing.T) {
				t.Parallel()
				p := planTo(t, repo, to)
				faults(t, 29, func(disk *crashfs.FS) (*faulttest.Job, error) {
					if empty {
						if err := disk.Mkdir("home"); err != nil {
							return nil, err
						}
					}
					if err := disk.SyncAll(); err != nil {
						return nil, err
					}
					return anotherFormat(t, repo, p), nil
				})
			})
		}
	}
}

// anotherFormat is a restore into a target that is not there yet, or is empty.
func anotherFormat(t *testing.T, repo *backup.Repository, p *backup.Plan) *faulttest.Job {
	acknowledged := false
	run := func(f vfs.FS) error {
		_, err := restore.Run(t.Context(), restore.Options{
			Repository: repo, Plan: p, Parent: f, Name: "home", Now: time.Now, Checkpoint: 4 << 10, Workers: 1,
			Format: layout.Flat, Convert: copied,
		})
		if errors.Is(err, restore.ErrExists) && wholeHome(t, f, "home", p.To) == nil {
			err = nil
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
				return noOtherHome(after, "home")
			}
			if acknowledged {
				return fmt.Errorf("it was acknowledged: %w", err)
			}
			if _, serr := after.Stat("home/config/settings"); serr == nil {
				return fmt.Errorf("it is taken for a storage: %w", err)
			}
			if err := run(after); err != nil {
				return fmt.Errorf("run again: %w", err)
			}
			return errors.Join(wholeHome(t, after, "home", p.To), noOtherHome(after, "home"))
		},
	}
}

// noOtherHome returns an error if beside a HOME, or in it, is more than the lock of a killed restore.
func noOtherHome(f vfs.FS, home string) error {
	for e, err := range f.List(".") {
		if err != nil {
			return err
		}
		if e.Name != home && e.Name != home+".restoring.lock" {
			return fmt.Errorf("%s is left beside it", e.Name)
		}
	}
	if _, err := f.Stat(path.Join(home, ".restoring")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s/.restoring is left: %w", home, err)
	}
	return nil
}

// TestAHomeThatIsWholeGetsItsNameFromTheNextRestore: one that was killed between the two names. A restore
// of another plan makes its own.
func TestAHomeThatIsWholeGetsItsNameFromTheNextRestore(t *testing.T) {
	t.Parallel()
	_, repo, tids := closedChain(t, "bundled")
	for _, to := range []zodb.TID{tids[2], tids[0]} {
		disk := crashfs.New(1)
		first, err := repo.At(repo.Identities()[0], tids[2])
		if err != nil {
			t.Fatal(err)
		}
		o := restore.Options{Repository: repo, Plan: first, Parent: killedBefore{disk, "home"}, Name: "home", Now: time.Now, Format: layout.Flat, Convert: copied}
		if _, err := restore.Run(t.Context(), o); !errors.Is(err, crashfs.ErrCrashed) {
			t.Fatal(err)
		}
		killed := disk.Killed()
		if _, err := killed.Stat("home.restoring.whole/config/settings"); err != nil {
			t.Fatal(err)
		}
		if _, err := killed.Stat("home.restoring"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the HOME of the backups is there still: %v", err)
		}
		if o.Parent = killed; to != tids[2] {
			if o.Plan, err = repo.At(repo.Identities()[0], to); err != nil {
				t.Fatal(err)
			}
		}
		done, err := restore.Run(t.Context(), o)
		if err != nil || done.TID != to || done.Resumed != (to == tids[2]) {
			t.Fatalf("to %s: %+v, %v", to, done, err)
		}
		if err := errors.Join(wholeHome(t, killed, "home", to), noOtherHome(killed, "home")); err != nil {
			t.Errorf("to %s: %v", to, err)
		}
	}
}

// killedBefore is a disk that ends before something gets a name.
type killedBefore struct {
	*crashfs.FS
	name string
}

// Rename implements [vfs.FS].
func (k killedBefore) Rename(from, to string) error {
	if to == k.name {
		k.CrashAt(1)
	}
	return k.FS.Rename(from, to)
}
