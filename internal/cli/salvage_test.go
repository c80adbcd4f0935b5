package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestSalvageSaysThatAListMayBeLost: of a bundle whose end is cut off, with status 3 and the way out, also as a
// plan and in JSON. Where the table of current revisions says that there was no list, nothing is said.
func TestSalvageSaysThatAListMayBeLost(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		home, dir := enginetest.Home(t, engine.CreateOptions{Format: "bundled"}), t.TempDir()
		s := enginetest.Open(t, home, engine.Options{})
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		bundles, err := filepath.Glob(filepath.Join(home, "A", "bundles", "*.tar.zst"))
		if err != nil || len(bundles) == 0 {
			t.Fatalf("%v, %v", bundles, err)
		}
		for _, name := range bundles {
			b, err := os.ReadFile(name)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, filepath.Base(name)), b[:len(b)-bundle.FooterSize-20], 0o600)
			}
			if err == nil {
				err = os.Remove(name)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		code, text, line := 0, "made again of", ""
		if !known {
			code, text, line = exitDamage, "are lost: objects that packs removed may be there again", `"returned":true`
			if err := os.Remove(filepath.Join(home, "misc", "current")); err != nil {
				t.Fatal(err)
			}
		}
		want(t, code, text, "salvage", "--dry-run", dir, home)
		want(t, code, line, "salvage", "--dry-run", "--json", dir, home)
		want(t, code, text, "salvage", dir, home)
		want(t, exitOK, "0 damaged", "check", home)
	}
}

// TestSalvageGoesOnBesideANewerRelease: a list of a newer release is left alone, everything else is done, and the
// status and the last line say so.
func TestSalvageGoesOnBesideANewerRelease(t *testing.T) {
	t.Parallel()
	home, dir := enginetest.Home(t, engine.CreateOptions{Format: "bundled"}), t.TempDir()
	s := enginetest.Open(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	bundles, err := filepath.Glob(filepath.Join(home, "A", "bundles", "*.tar.zst"))
	if err != nil || len(bundles) != 1 {
		t.Fatalf("%v, %v", bundles, err)
	}
	n, _, _ := bundle.ParseName(filepath.Base(bundles[0]))
	list, err := (&bundle.Gone{}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(list[8:], 9)
	binary.BigEndian.PutUint32(list[len(list)-4:], crc32.Checksum(list[:len(list)-4], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(filepath.Join(dir, n.Gone(1)), list, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(bundles[0], filepath.Join(dir, filepath.Base(bundles[0]))); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--dry-run"}, nil} {
		want(t, exitDamage, "newer "+n.Gone(1), append(append([]string{"salvage"}, args...), dir, home)...)
	}
	want(t, exitDamage, "do not open "+home+" with it", "salvage", dir, home)
	want(t, exitDamage, `"verb":"newer"`, "salvage", "--json", dir, home)
	want(t, exitOK, "0 damaged", "check", home)
}

// TestSalvagedFilesLookNew: the clock was set back by an hour after a clean close, of which somebody made
// a copy. An increment by time stamp has the files that are put there now.
func TestSalvagedFilesLookNew(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bundled", "flat"} {
		home, lost := enginetest.Home(t, engine.CreateOptions{Format: format}), t.TempDir()
		s := enginetest.Open(t, home, engine.Options{Clock: func() time.Time { return time.Now().Add(time.Hour) }})
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		dir, err := vfs.OS(home)
		if err != nil {
			t.Fatal(err)
		}
		copied, err := snapfile.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		err = filepath.WalkDir(filepath.Join(home, "A"), func(name string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() && !strings.HasPrefix(e.Name(), "x.") {
				names = append(names, name)
				err = os.Rename(name, filepath.Join(lost, e.Name()))
			}
			return err
		})
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: lost %q: %v", format, names, err)
		}
		want(t, exitOK, "place", "salvage", lost, home)
		// The next floor is above the files, also if the clock says something else then.
		floor, err := dir.Stat("misc/floor")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if !info.ModTime().After(copied.Moment) {
				t.Errorf("%s: %s bears %v, which is not after %v", format, name, info.ModTime(), copied.Moment)
			}
			if info.ModTime().Unix() >= floor.ModTime.Unix() {
				t.Errorf("%s: %s bears %v, and misc/floor knows of %v", format, name, info.ModTime(), floor.ModTime)
			}
		}
		want(t, exitOK, "0 damaged", "check", home)
	}
}

// TestSalvageSaysThatNothingOfAFileIsLeft: a bundle without one whole frame is not put back. Where HOME lacks its
// transactions, they are named, and the status is 3, each time.
func TestSalvageSaysThatNothingOfAFileIsLeft(t *testing.T) {
	t.Parallel()
	home, dir := importedHome(t), t.TempDir()
	bundles, err := filepath.Glob(filepath.Join(home, "A", "bundles", "*.tar.zst"))
	if err != nil || len(bundles) == 0 {
		t.Fatalf("%v, %v", bundles, err)
	}
	n, _, _ := bundle.ParseName(filepath.Base(bundles[0]))
	whole, err := os.ReadFile(bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, filepath.Base(bundles[0]))
	if err := os.WriteFile(to, whole[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "other bundles have its transactions", "salvage", dir, home)
	if err := os.Remove(bundles[0]); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"salvage", "--dry-run"}, {"salvage"}, {"salvage"}} {
		want(t, exitDamage, fmt.Sprintf("HOME lacks its transactions from %s to %s", n.Min, n.Max), append(args, dir, home)...)
	}
	want(t, exitDamage, "1 bundle could not be put back, or not whole", "salvage", dir, home)
	want(t, exitDamage, `"missing":true`, "salvage", "--json", dir, home)
	// A damaged frame costs a part.
	whole[40] ^= 1
	if err := os.WriteFile(to, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, exitDamage, "the content of its damaged pieces is lost", "salvage", dir, home)
}

// TestSalvageWarnsOfADamagedFile: in the formats with a file for each revision nobody knows which one it was.
func TestSalvageWarnsOfADamagedFile(t *testing.T) {
	t.Parallel()
	home, dir := enginetest.Home(t, engine.CreateOptions{Format: "flat"}), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "#1"), append([]byte(record.ObjectMagic), make([]byte, 100)...), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "nothing of it can be put back: 1 damaged file; dirstorage check "+home, "salvage", dir, home)
}

// TestSalvageOfAnOpenStorageSaysWhichAndWhatToDo: in the words of recover, with a status of 4.
func TestSalvageOfAnOpenStorageSaysWhichAndWhatToDo(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Format: "bundled"})
	enginetest.Open(t, home, engine.Options{})
	code, _, stderr := command(t.Context(), "salvage", t.TempDir(), home)
	for _, part := range []string{"dirstorage: locked: the storage " + home + " is open in another process: ", "\nhint: salvage wants a storage that nobody has open: "} {
		if code != exitLocked || !strings.Contains(stderr.String(), part) {
			t.Errorf("status %d, without %q:\n%s", code, part, stderr)
		}
	}
}

// TestATidInAWrongFormNamesAllForms, also the one with 0x.
func TestATidInAWrongFormNamesAllForms(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	for _, args := range [][]string{{"files", "--since", "405E", home}, {"check", "--since", "405E", home}, {"log", "--from", "405E", home}, {"export", "--to", "405E", home, "x"}} {
		code, _, stderr := command(t.Context(), args...)
		if code != exitUsage || !strings.Contains(stderr.String(), "16 hexadecimal digits, or 0x and up to 16") {
			t.Errorf("%q: status %d, it says:\n%s", args, code, stderr)
		}
	}
	want(t, exitOK, "A/", "files", "--since", "0x0", home)
}

// TestSalvageLetsAStandStill: somebody copies A of a closed storage, with misc/sublock held. Only a dry run goes on.
func TestSalvageLetsAStandStill(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bundled", "flat"} {
		home, lost := enginetest.Home(t, engine.CreateOptions{Format: format}), t.TempDir()
		s := enginetest.Open(t, home, engine.Options{})
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("root")})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		dir, err := vfs.OS(home)
		if err == nil {
			err = os.Rename(filepath.Join(home, "A", "x.oid"), filepath.Join(lost, "x"))
		}
		var held vfs.Lock
		if err == nil {
			held, err = dir.Lock(snapfile.Sublock)
		}
		if err != nil {
			t.Fatal(err)
		}
		code, _, stderr := command(t.Context(), "salvage", lost, home)
		for _, part := range []string{"dirstorage: locked: somebody needs A of " + home + " to stand still: ", "\nhint: a backup or another copy of it is made: "} {
			if code != exitLocked || !strings.Contains(stderr.String(), part) {
				t.Errorf("%s: status %d, without %q:\n%s", format, code, part, stderr)
			}
		}
		if _, err := os.Stat(filepath.Join(home, "A", "x.oid")); err == nil {
			t.Errorf("%s: A was changed", format)
		}
		want(t, exitOK, "A/x.oid", "salvage", "--dry-run", lost, home)
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
		want(t, exitOK, "A/x.oid", "salvage", lost, home)
		if _, err := os.Stat(filepath.Join(home, "A", "x.oid")); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// TestSalvageSaysThatAnOlderRevisionIsCurrent, with status 3.
func TestSalvageSaysThatAnOlderRevisionIsCurrent(t *testing.T) {
	t.Parallel()
	home, lost := enginetest.Home(t, engine.CreateOptions{Format: "flat"}), t.TempDir()
	s := enginetest.Open(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("first")})
	second := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: enginetest.Record("second")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []layout.Name{layout.Pointer(0), layout.Revision(0, second)} {
		if err := os.Rename(filepath.Join(home, "A", layout.Flat.Path(n)), filepath.Join(lost, n.String()+".away")); err != nil {
			t.Fatal(err)
		}
	}
	whole := filepath.Join(lost, layout.Revision(0, second).String()+".away")
	kept, err := os.ReadFile(whole)
	if err == nil {
		err = os.Remove(whole)
	}
	if err != nil {
		t.Fatal(err)
	}
	want(t, exitDamage, "transaction "+second.String()+" wrote a later one, which is missing", "salvage", lost, home)
	pointer := filepath.Join(home, "A", layout.Flat.Path(layout.Pointer(0)))
	if err := errors.Join(os.Remove(pointer), os.WriteFile(whole, kept, 0o600)); err != nil { // as the hint says
		t.Fatal(err)
	}
	want(t, exitOK, "its newest revision is "+second.String(), "salvage", lost, home)
	want(t, exitOK, "0 damaged", "check", home)
}
