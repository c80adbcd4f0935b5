package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestFullDiskAndMemoryAreProblemsOfStatus, as they are faults for doctor; a check on the full disk does its
// work, and says that no record is left of it.
func TestFullDiskAndMemoryAreProblemsOfStatus(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	home := filepath.Join(dir, "home")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	if codes, text := toldByProgram(t, exitProblem, home); strings.Join(codes, " ") != "memory_file_system low_space" && strings.Join(codes, " ") != "memory_file_system" || !strings.Contains(text, "ERROR:             mount: tmpfs at "+dir+": everything is in memory") {
		t.Errorf("%q\n%s", codes, text)
	}
	f, err := os.Create(filepath.Join(dir, "full"))
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	if !errors.Is(errors.Join(err, f.Close()), unix.ENOSPC) {
		t.Fatal(err)
	}
	want(t, exitOK, "no record of this run is left for status: ", "check", home)
	if codes, text := toldByProgram(t, exitProblem, home); strings.Join(codes, " ") != "memory_file_system disk_full" || !strings.Contains(text, "space: 0 B and ") {
		t.Errorf("%q\n%s", codes, text)
	}
	r := examined(t, exitDamage, home)
	if got := strings.Join(kindsOf(r), " "); !strings.Contains(got, "memory-file-system") || !strings.Contains(got, "space-none") {
		t.Errorf("doctor finds %s", got)
	}
}

// toldByProgram is toldBy of the program, which looks at the mounts.
func toldByProgram(t *testing.T, code int, home string) (codes []string, text string) {
	t.Helper()
	look := func(args ...string) string {
		c := program(t, args...)
		out, err := c.Output()
		if c.ProcessState == nil || c.ProcessState.ExitCode() != code {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	var st homeStatus
	if err := json.Unmarshal([]byte(look("status", "--json", home)), &st); err != nil {
		t.Fatal(err)
	}
	for _, p := range st.Problems {
		codes = append(codes, p.Code)
	}
	return codes, look("status", home)
}
