package engine_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestOpenWhateverIsInMisc: none of the files in misc/ holds acknowledged data, and a power cut may
// leave any of them empty, full of zeros, cut off, gone, or rubbish. The storage opens all the
// same, holds everything, and goes on.
func TestOpenWhateverIsInMisc(t *testing.T) {
	t.Parallel()
	s := engine.PackStorage(t, engine.Options{NoControlSocket: true, Reserve: 4096}, "storage.delay_delete=1000")
	x := engine.NewOIDs(t, s, 2)
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", x...)}, enginetest.Change{OID: x[0], Data: pickletest.Record("one"), Blob: "blob"}, enginetest.Change{OID: x[1], Data: pickletest.Record("two")})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", x[0])})
	engine.DoPack(t, s, zodb.PackOptions{References: true})
	if _, err := s.Undelete(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{"one", "two"} {
		if err := s.EnterSnapshot(t.Context(), code); err != nil {
			t.Fatal(err)
		}
		last := enginetest.Commit(t, s, enginetest.Change{OID: x[0], Data: pickletest.Record(code), Blob: "blob of " + code})
		if err := s.LeaveSnapshot(t.Context(), code); err != nil {
			t.Fatal(err)
		}
		witness := []byte(last.String() + " some backup\n")
		if err := os.WriteFile(s.Dir().FS.Path("misc/backed-up"), witness, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	home := s.Home()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files := []string{engine.PlanFile, engine.SparedFile} // which are not there after a pack
	for e, err := range s.Dir().FS.List("misc") {
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, "misc/"+e.Name)
	}
	for _, must := range []string{"floor", "snapshot", "snapshot-taken", "counts", "history", "history-0", "undeleted", "refs", "backed-up", "reserve", "lock", "sublock"} {
		if _, err := s.Dir().FS.Stat("misc/" + must); err != nil && (must != "history-0" || !errors.Is(err, fs.ErrNotExist)) {
			t.Errorf("the test does not reach it: %v", err)
		}
	}
	for _, name := range files {
		for how, ruin := range ruins {
			if testing.Short() && how != "zeros" {
				continue
			}
			t.Run(filepath.Base(name)+"/"+how, func(t *testing.T) {
				t.Parallel()
				copied := filepath.Join(t.TempDir(), "home")
				shell(t, "cp", "-a", home, copied)
				b, err := os.ReadFile(filepath.Join(copied, name))
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				ruin(t, filepath.Join(copied, name), b)
				openAndGoOn(t, copied, x[0])
			})
		}
	}
}

// ruins are the states in which a power cut may leave a file.
var ruins = map[string]func(t *testing.T, name string, was []byte){
	"empty":   func(t *testing.T, name string, _ []byte) { ruinTo(t, name, nil) },
	"zeros":   func(t *testing.T, name string, was []byte) { ruinTo(t, name, make([]byte, max(len(was), 20))) },
	"half":    func(t *testing.T, name string, was []byte) { ruinTo(t, name, was[:len(was)/2]) },
	"rubbish": func(t *testing.T, name string, _ []byte) { ruinTo(t, name, bytes.Repeat([]byte{0xff, 'x'}, 50)) },
	"gone": func(t *testing.T, name string, _ []byte) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	},
}

func ruinTo(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// openAndGoOn opens a HOME, looks at an object, and does all that there is to do.
func openAndGoOn(t *testing.T, home string, oid zodb.OID) {
	t.Helper()
	s := engine.OpenHome(t, home, engine.Options{NoControlSocket: true})
	if got := engine.Load(t, s, oid); got != string(pickletest.Record("two")) {
		t.Errorf("the object is %q", got)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: oid, Data: pickletest.Record("three"), Blob: "another"})
	asked := time.Now()
	if err := s.EnterSnapshot(t.Context(), "again"); err != nil {
		t.Fatal(err)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: oid, Data: pickletest.Record("four"), Blob: "yet another"})
	if err := s.LeaveSnapshot(t.Context(), "again"); err != nil {
		t.Fatal(err)
	}
	engine.DoPack(t, s, zodb.PackOptions{})
	if _, err := s.Undelete(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range vfs.Walk(dir, "A") {
		info, serr := dir.Stat(name)
		if err != nil || serr != nil {
			t.Fatal(err, serr)
		}
		if filepath.Base(name) == "c" && info.ModTime.Before(asked) && bytes.Contains([]byte(name), []byte(oid.String()[13:])) {
			t.Errorf("%s is new since the snapshot, and bears %v, before %v", name, info.ModTime, asked)
		}
	}
	// Damaged places of the table of current revisions stay so: an open does not read all of it.
	_, err = checktest.Run(t.Context(), check.Options{FS: dir}, func(f check.Finding) bool {
		return checktest.NoNote(f) && (f.Kind != check.TableDamaged || f.Severity != check.Warning)
	})
	if err != nil {
		t.Error(err)
	}
	if found, err := pack.Pending(dir); found || err != nil {
		t.Errorf("a plan is left: %v", err)
	}
}
