package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestTheRemedyOfAFullDiskWorks follows the advice of status on a file system without a free byte: with
// misc/reserve a pack works, and is refused where it frees nothing; without it only after other files were
// deleted.
func TestTheRemedyOfAFullDiskWorks(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "48m")
	home := filepath.Join(disk, "home")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	fill(t, disk)
	remedy := func() string {
		t.Helper()
		_, st, _ := toldBy2(t, home)
		for _, p := range st.Problems {
			if p.Code == "disk_full" {
				return p.Remedy
			}
		}
		t.Fatalf("no disk_full: %+v", st.Problems)
		return ""
	}
	if text := remedy(); !strings.HasPrefix(text, "first delete other files on this disk") || !strings.Contains(text, "; then dirstorage pack ") {
		t.Errorf("without the reserve: %s", text)
	}
	if code, _, stderr := command(t.Context(), "pack", home); code != exitFailed || !strings.Contains(stderr.String(), "no space left on device") {
		t.Errorf("a pack without the reserve: status %d, %s", code, stderr)
	}
	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	if codes, _, _ := toldBy2(t, home); strings.Contains(strings.Join(codes, " "), "disk_full") {
		t.Errorf("after the first step: %q", codes)
	}
	reserve := filepath.Join(home, "misc", "reserve")
	if err := os.WriteFile(reserve, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	fill(t, disk)
	if text := remedy(); !strings.Contains(text, "; or, in the room of misc/reserve, dirstorage pack ") {
		t.Errorf("with the reserve: %s", text)
	}
	code, _, stderr := command(t.Context(), "pack", home)
	if _, err := os.Stat(reserve); err != nil || code != exitFailed || !strings.Contains(stderr.String(), "the pack would free nothing now") || !strings.Contains(stderr.String(), "hint: nothing was changed; ") {
		t.Errorf("a pack that frees nothing: status %d, %s; the reserve: %v", code, stderr, err)
	}
	want(t, exitOK, "packed to ", "pack", "--ignore-space", home)
	if _, err := os.Stat(reserve); !os.IsNotExist(err) {
		t.Errorf("the pack did without the reserve: %v", err)
	}
}

// TestDamageIsRecordedOnAFullDisk in the room that the first run, or the start of a server, has kept: it is
// told by later calls of status, with no server that remembers it.
func TestDamageIsRecordedOnAFullDisk(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(t *testing.T, home string){
		"after a run":    func(t *testing.T, home string) { want(t, exitOK, "0 damaged", "check", home) },
		"after a server": func(t *testing.T, home string) { startWeb(t, home).end() },
	} {
		for _, job := range [][]string{{"check"}, {"pack", "--ignore-space"}} {
			t.Run(name+", "+job[0], func(t *testing.T) {
				t.Parallel()
				disk := smallDisk(t, "48m")
				home := filepath.Join(disk, "home")
				want(t, exitOK, "imported", "import", "--format", "chunky", hometest.FileStorage(t, "undo.fs"), home)
				before(t, home)
				reserve := filepath.Join(home, "misc", "runs", "reserve")
				if info, err := os.Stat(reserve); err != nil || info.Size() < 64<<10 {
					t.Fatalf("no room is kept: %v", err)
				}
				back := flip(t, filepath.Join(home, "A/o000/000/000/000/0000.03*"))
				fill(t, disk)
				code, _, stderr := command(t.Context(), append(job, home)...)
				if code != exitDamage || strings.Contains(stderr.String(), "is in no record") {
					t.Errorf("status %d, %s", code, stderr)
				}
				if codes, _, text := toldBy2(t, home); codes[0] != damagedCode || !strings.Contains(text, "the "+job[0]+" of 20") {
					t.Errorf("%q\n%s", codes, text)
				}
				if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
					t.Fatal(err)
				}
				back()
				want(t, exitOK, "0 damaged", "check", home)
				if codes, _, text := toldBy2(t, home); strings.Contains(strings.Join(codes, " "), damagedCode) {
					t.Errorf("after a clean check: %q\n%s", codes, text)
				}
				if _, err := os.Stat(reserve); err != nil {
					t.Errorf("no room is kept again: %v", err)
				}
			})
		}
	}
}
