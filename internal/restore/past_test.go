package restore_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestHistoryBeginsAfterAllThatTheOldCopyHad brings a copy back that has transactions of
// the future, of which clients know: the history that begins then begins after them,
// wherever the old copy tells of them.
func TestHistoryBeginsAfterAllThatTheOldCopyHad(t *testing.T) {
	enginetest.EachFormat(t, testHistoryBeginsAfterAllThatTheOldCopyHad)
}

func testHistoryBeginsAfterAllThatTheOldCopyHad(t *testing.T, format string) {
	_, repo, tids := closedChain(t, format)
	ahead := func() time.Time { return time.Now().Add(1000 * time.Hour) }
	for _, tc := range []struct {
		name string
		end  func(t *testing.T, s *engine.Storage, home string)
	}{
		{"closed", func(t *testing.T, s *engine.Storage, home string) {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}},
		{"closed, and without a mark", func(t *testing.T, s *engine.Storage, home string) {
			if err := errors.Join(s.Close(), os.Remove(filepath.Join(home, "misc/history"))); err != nil {
				t.Fatal(err)
			}
		}},
		{"killed, and without a mark", func(t *testing.T, s *engine.Storage, home string) {
			killed := home + ".killed"
			if out, err := exec.Command("cp", "-a", home, killed).CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, out)
			}
			if err := errors.Join(s.Close(), os.RemoveAll(home), os.Rename(killed, home), os.Remove(filepath.Join(home, "misc/history"))); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			work := t.TempDir()
			home := filepath.Join(work, "home")
			back := func(delta bool) {
				t.Helper()
				p := planTo(t, repo, tids[0])
				o := restoreOptions(t, repo, p, work, "home")
				o.Delta = delta
				if _, err := restore.Run(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			back(false)
			s, err := engine.Open(t.Context(), home, engine.Options{Clock: ahead, NoControlSocket: true})
			if err != nil {
				t.Fatal(err)
			}
			known := s.LastTransaction()
			tc.end(t, s, home)
			back(true)
			s, err = engine.Open(t.Context(), home, engine.Options{NoControlSocket: true})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if first := zodb.TIDFromTime(ahead().Add(-time.Hour)); known < first {
				t.Fatalf("the old copy ends with %s", known)
			}
			if begun := s.LastTransaction(); begun <= known {
				t.Errorf("the history begins with %s, and clients may know %s", begun, known)
			}
		})
	}
}

// TestHistoryBeginsAfterAllBackups: the clock was ahead, and the storage is restored to an earlier state on a machine
// that has nothing else of it. The backups that come are newer than those of the history that was given up, so the
// newest backup is the newest state.
func TestHistoryBeginsAfterAllBackups(t *testing.T) {
	enginetest.EachFormat(t, func(t *testing.T, format string) {
		home := enginetest.Home(t, engine.CreateOptions{Format: format})
		repository := objstore.NewDir(directory(t, t.TempDir()))
		serials := make(map[zodb.OID]zodb.TID)
		during := func(home string, clock func() time.Time, oid zodb.OID) {
			t.Helper()
			s := enginetest.Open(t, home, engine.Options{Clock: clock})
			w := &writer{t, s, serials}
			w.store(oid, "N.")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		during(home, nil, 0)
		first := backUp(t, home, repository, backup.Full).Backup
		during(home, func() time.Time { return time.Now().Add(1000 * time.Hour) }, 1)
		ahead := backUp(t, home, repository, "").Backup
		delete(serials, 1)

		repo := openRepository(t, repository)
		p, err := repo.Exactly(first)
		dir := t.TempDir()
		if err == nil {
			_, err = restore.Run(t.Context(), restoreOptions(t, repo, p, dir, "home"))
		}
		if err != nil {
			t.Fatal(err)
		}
		during(filepath.Join(dir, "home"), nil, 2)
		if serials[2] <= ahead.TID {
			t.Errorf("committed %s, and a backup has %s", serials[2], ahead.TID)
		}
		backUp(t, filepath.Join(dir, "home"), repository, "")
		got := newestRestored(t, repository)
		for oid, serial := range serials {
			if r, err := got.Load(t.Context(), oid); err != nil || r.Serial != serial {
				t.Errorf("object %s: %s, %v; want %s", oid, r.Serial, err, serial)
			}
		}
		if _, err := got.Load(t.Context(), 1); err == nil {
			t.Error("the state that was given up is restored")
		}
	})
}
