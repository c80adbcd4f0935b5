package restore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/salvage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// lost moves a file out of A of a closed HOME.
func lost(t *testing.T, home string, name string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Rename(filepath.Join(home, "A", name), filepath.Join(dir, "#1")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// salvaged puts all files of a directory back, and notes that as the command does.
func salvaged(t *testing.T, from, home string) {
	t.Helper()
	lost, to := directory(t, from), directory(t, home)
	plan, err := salvage.Plan(t.Context(), lost, to, time.Now())
	if err == nil {
		err = salvage.Apply(t.Context(), lost, to, plan, time.Now(), func(running bool) error {
			return pack.Undeleted{Running: running, Time: time.Now()}.Note(to, vfs.SyncOptions{})
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// broughtBack is a closed HOME, a file of which was lost, backed up without it, salvaged, and backed up with it. Both
// backups are full.
type broughtBack struct {
	home          string
	w             *writer
	lacking, with *backup.Manifest
}

func newBroughtBack(t *testing.T, class zodb.Class, first, second objstore.Store) *broughtBack {
	t.Helper()
	home := enginetest.Home(t, engine.CreateOptions{Class: class, Format: "flat", Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}})
	s := enginetest.Open(t, home, engine.Options{})
	w := &writer{t, s, make(map[zodb.OID]zodb.TID)}
	w.store(1, "N.")
	w.store(0, reference(1))
	closed(t, s)
	name := layout.Revision(1, w.serials[1])
	if class == zodb.ClassMinimal {
		name = layout.Object(1)
	}
	dir := lost(t, home, layout.Flat.Path(name))
	b := &broughtBack{home: home, w: w}
	b.lacking = backUp(t, home, first, "").Backup
	salvaged(t, dir, home)
	b.with = backUp(t, home, second, "").Backup
	if b.lacking.Kind != backup.Full || b.with.Kind != backup.Full {
		t.Fatalf("made %+v and %+v", b.lacking, b.with)
	}
	return b
}

// restoredFrom makes a HOME of a backup.
func restoredFrom(t *testing.T, repository objstore.Store, m *backup.Manifest) string {
	t.Helper()
	dir := t.TempDir()
	repo := openRepository(t, repository)
	m, err := repo.Get(m.Name)
	var p *backup.Plan
	if err == nil {
		p, err = repo.Exactly(m)
	}
	if err == nil {
		_, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "home"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "home")
}

func eachClass(t *testing.T, test func(t *testing.T, class zodb.Class)) {
	for _, class := range []zodb.Class{zodb.ClassFull, zodb.ClassMinimal} {
		t.Run(string(class), func(t *testing.T) { test(t, class) })
	}
}

// TestASalvagedFileIsInEachRepository: a file was salvaged between the backup into one repository and that into
// another one, from which the storage is restored. The next backup into the first one has the file: it does not build
// upon the one that lacks it.
func TestASalvagedFileIsInEachRepository(t *testing.T) {
	eachClass(t, func(t *testing.T, class zodb.Class) {
		x, y := objstore.NewDir(directory(t, t.TempDir())), objstore.NewDir(directory(t, t.TempDir()))
		b := newBroughtBack(t, class, x, y)
		home := restoredFrom(t, y, b.with)
		b.w.s = enginetest.Open(t, home, engine.Options{})
		b.w.store(0, reference(1))
		if m := backUp(t, home, x, "").Backup; m == nil || m.Kind != backup.Full {
			t.Errorf("into the first repository: %+v", m)
		}
		newestHas(t, x, b.w.serials)
		if m := backUp(t, home, y, "").Backup; m == nil || m.Reference == nil || m.Reference.Name != b.with.Name {
			t.Errorf("into the second repository: %+v, want one upon %s", m, b.with.Name)
		}
		newestHas(t, y, b.w.serials)
	})
}

// TestAnOlderReferenceHasWhatWasSalvaged: a storage was restored with a file that was salvaged. An incremental backup
// upon an older one than the newest does not build upon one that lacks the file.
func TestAnOlderReferenceHasWhatWasSalvaged(t *testing.T) {
	eachClass(t, func(t *testing.T, class zodb.Class) {
		repository := objstore.NewDir(directory(t, t.TempDir()))
		b := newBroughtBack(t, class, repository, repository)
		home := restoredFrom(t, repository, b.with)
		b.w.s = enginetest.Open(t, home, engine.Options{})
		b.w.store(0, reference(1))
		newest := backUp(t, home, repository, backup.Full).Backup
		b.w.store(0, reference(1))
		o := backup.Options{Store: repository, Kind: backup.Incremental, Before: newest.SnapshotAt, Now: time.Now, Snapshot: snapshotOf(home)}
		r, err := backup.Run(t.Context(), o)
		if err != nil || r.Backup.Reference.Name != b.with.Name {
			t.Errorf("made %+v, %v; want one upon %s", r, err, b.with.Name)
		}
		newestHas(t, repository, b.w.serials)
	})
}

// TestRepositoriesInTurnHaveTheirOwnChains: a storage is backed up into one repository and another one in turn, and
// packed in between. Each has one full backup. So it is after a restore, in the repository of which that was; in
// the other one a full one is made once.
func TestRepositoriesInTurnHaveTheirOwnChains(t *testing.T) {
	for _, format := range []string{"chunky", "bundled", "Minimal"} {
		t.Run(format, func(t *testing.T) {
			o := engine.CreateOptions{Format: format, Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}}
			if format == "Minimal" {
				o.Class, o.Format = zodb.ClassMinimal, ""
			}
			home := enginetest.Home(t, o)
			w := &writer{t, enginetest.Open(t, home, engine.Options{}), make(map[zodb.OID]zodb.TID)}
			repositories := []objstore.Store{objstore.NewDir(directory(t, t.TempDir())), objstore.NewDir(directory(t, t.TempDir()))}
			var last *backup.Manifest
			inTurn := func(full int) {
				t.Helper()
				for i := range 6 {
					w.store(zodb.OID(i%3), "N.")
					_, err := w.s.Pack(t.Context(), zodb.PackOptions{Time: w.serials[zodb.OID(i%3)].Time(), NoGC: true})
					if err != nil && format != "Minimal" { // which keeps nothing to pack
						t.Fatal(err)
					}
					w.store(0, "N.")
					last = backUp(t, home, repositories[i%2], "").Backup
					if last == nil || (last.Kind == backup.Full) != (i < full) {
						t.Errorf("backup %d: %+v", i, last)
					}
					newestHas(t, repositories[i%2], w.serials)
				}
			}
			inTurn(2)
			closed(t, w.s)
			home = restoredFrom(t, repositories[1], last)
			w.s = enginetest.Open(t, home, engine.Options{})
			w.store(0, "N.")
			if m := backUp(t, home, repositories[1], "").Backup; m.Reference == nil || m.Reference.Name != last.Name {
				t.Errorf("after the restore: %+v, want one upon %s", m, last.Name)
			}
			newestHas(t, repositories[1], w.serials)
			inTurn(1)
		})
	}
}

// TestAFullBackupIsMadeWithoutATraceOfOthers: where nothing in HOME tells that a backup has all that A has of the
// transactions up to it, a full one is made, and the next one builds upon that.
func TestAFullBackupIsMadeWithoutATraceOfOthers(t *testing.T) {
	note := func(t *testing.T, home, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(home, "misc/backed-up"), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for name, put := range map[string]func(t *testing.T, repository objstore.Store, home, older string) string{
		"note lost": func(t *testing.T, _ objstore.Store, home, _ string) string {
			if err := os.Remove(filepath.Join(home, "misc/backed-up")); err != nil {
				t.Fatal(err)
			}
			return home
		},
		"note empty": func(t *testing.T, _ objstore.Store, home, _ string) string { note(t, home, ""); return home },
		"note of the future": func(t *testing.T, _ objstore.Store, home, _ string) string {
			note(t, home, "v2\x00\n\nx y z\n")
			return home
		},
		"copy":      func(t *testing.T, _ objstore.Store, _, older string) string { return older },
		"another A": func(t *testing.T, _ objstore.Store, home, older string) string { aByHand(t, home, older); return home },
		"another A, imported into": func(t *testing.T, _ objstore.Store, home, older string) string {
			aByHand(t, home, older)
			s := enginetest.Open(t, home, engine.Options{History: engine.HistoryCopied})
			w := &writer{t, s, make(map[zodb.OID]zodb.TID)}
			w.store(7, "N.")
			closed(t, s)
			return home
		},
		"restored to a moment": func(t *testing.T, repository objstore.Store, _, _ string) string {
			repo, dir := openRepository(t, repository), t.TempDir()
			p, err := repo.At(repo.Identities()[0], repo.Backups[0].TID-1)
			if err == nil {
				_, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "home"))
			}
			if err != nil || !p.Cut {
				t.Fatal(p, err)
			}
			return filepath.Join(dir, "home")
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := forkable(t, "")
			s := enginetest.Open(t, home, engine.Options{})
			w := &writer{t, s, make(map[zodb.OID]zodb.TID)}
			repository := objstore.NewDir(directory(t, t.TempDir()))
			w.store(0, "N.")
			w.store(0, "N.")
			backUp(t, home, repository, "")
			closed(t, s)
			at := put(t, repository, home, copyOf(t, home))
			m := backUp(t, at, repository, "").Backup
			if m == nil || m.Kind != backup.Full {
				t.Fatalf("made %+v", m)
			}
			if r := backUp(t, at, repository, ""); r.Backup != nil {
				t.Errorf("once more, without a change: %+v", r.Backup)
			}
			if name == "copy" || strings.HasPrefix(name, "another A") {
				return // the first open begins a history, which trusts nothing
			}
			w.s = enginetest.Open(t, at, engine.Options{})
			w.store(0, "N.")
			if inc := backUp(t, at, repository, "").Backup; inc.Reference == nil || inc.Reference.Name != m.Name {
				t.Errorf("after a commit: %+v, want one upon %s", inc, m.Name)
			}
		})
	}
}

// TestADiskThatWasPutBackHasWhatABackupOfItsDamageLacks: a file was lost, a backup made without it, and a disk from
// before put back, which has the file and no note of the backup. A and the last transaction are the same.
func TestADiskThatWasPutBackHasWhatABackupOfItsDamageLacks(t *testing.T) {
	t.Parallel()
	home := forkable(t, "flat")
	repository := objstore.NewDir(directory(t, t.TempDir()))
	s := enginetest.Open(t, home, engine.Options{})
	w := &writer{t, s, make(map[zodb.OID]zodb.TID)}
	w.store(1, "N.")
	w.store(2, "N.")
	w.store(0, reference(1))
	closed(t, s)
	name := layout.Flat.Path(layout.Revision(2, w.serials[2]))
	dir := lost(t, home, name)
	backUp(t, home, repository, "")
	if err := errors.Join(os.Rename(filepath.Join(dir, "#1"), filepath.Join(home, "A", name)), os.Remove(filepath.Join(home, "misc/backed-up"))); err != nil {
		t.Fatal(err)
	}
	w.s = enginetest.Open(t, home, engine.Options{})
	w.store(0, reference(1))
	if m := backUp(t, home, repository, "").Backup; m.Kind != backup.Full {
		t.Errorf("the backup is %s, upon one that lacks %s", m.Kind, name)
	}
}
