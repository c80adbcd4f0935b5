package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestTheRemedyOfAFullDiskWorks follows the advice of status on a file system without a free byte: with
// misc/reserve a pack works, without it only after other files were deleted.
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
	want(t, exitOK, "packed to ", "pack", home)
	if _, err := os.Stat(reserve); !os.IsNotExist(err) {
		t.Errorf("the pack did without the reserve: %v", err)
	}
}
