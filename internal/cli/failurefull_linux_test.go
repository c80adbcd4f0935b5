package cli

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of that size in memory, and returns its directory. The test is
// skipped without the rights of root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip("no right to mount a file system: run it as root")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves no byte free on a disk.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for piece := make([]byte, 64<<10); len(piece) > 0; {
		if _, err := f.Write(piece); errors.Is(err, syscall.ENOSPC) {
			piece = piece[:len(piece)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFullDiskHasOneStatus for all commands that write where no byte is free. Those that only read work.
func TestFullDiskHasOneStatus(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "16m")
	home, repository := filepath.Join(disk, "home"), filepath.Join(disk, "repository")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	want(t, exitOK, "full backup", "backup", "full", home, repository)
	if err := os.Remove(filepath.Join(home, "misc", "snapshot")); err != nil { // as of one that crashed
		t.Fatal(err)
	}
	fill(t, disk)
	readers := []string{"status", "log", "history", "show", "refs", "classes", "check", "backup list", "backup verify", "backup prune"}
	without := []string{"serve", "top", "salvage", "files", "snapshot leave", "snapshot status", "backup inc", "backup merge"} // which need a server, a snapshot, or other files
	makeRoom := regexp.MustCompile(`\nhint: (nothing that was acknowledged is lost; make room|free space)`)
	for _, calls := range []map[string][]string{withHome, withRepository} {
		for name, args := range calls {
			if slices.Contains(without, name) {
				continue
			}
			args = call(args, disk, home)
			for i, a := range args {
				args[i] = strings.ReplaceAll(a, "REPOSITORY", repository)
			}
			code, stdout, stderr := command(t.Context(), args...)
			if slices.Contains(readers, name) {
				if code != exitOK && (name != "status" || code != exitProblem) {
					t.Errorf("%s: status %d, %s%s", name, code, stdout, stderr)
				}
				continue
			}
			if code != exitFailed || !makeRoom.MatchString(stderr.String()) {
				t.Errorf("%s: status %d, %s%s", name, code, stdout, stderr)
			}
		}
	}
}
