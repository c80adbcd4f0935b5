package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// chainOf makes a full backup and an incremental one of a HOME in a format.
func chainOf(t *testing.T, format string) (home, repo string) {
	t.Helper()
	dir := t.TempDir()
	home, repo = filepath.Join(dir, "home"), filepath.Join(dir, "repo")
	name, blobs := generated(t, dir, 600, true)
	want(t, exitOK, "imported", "import", "--format", format, "--blobs", blobs, name, home)
	want(t, exitOK, "full backup", "backup", "full", home, repo)
	return home, repo
}

// TestARestoreLooksForRoomFirst: it refuses where the disk has too few bytes or inodes, with the numbers and the
// way on. If it is told to go on, it gives its advice once when the disk is full, and ends its work later.
func TestARestoreLooksForRoomFirst(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ format, into, disk, says string }{
		{"bundled", "", "600k", "it needs about "},
		{"bushy", "", "256m,nr_inodes=500", " (inodes), and "},
		{"bundled", "bushy", "256m,nr_inodes=500", " (inodes), and "},
	} {
		_, repo := chainOf(t, tc.format)
		disk := smallDisk(t, tc.disk)
		for _, target := range []string{filepath.Join(disk, "home"), disk} {
			args := []string{"restore", repo, target}
			if tc.into != "" {
				args = append(args, "--format", tc.into)
			}
			code, stdout, stderr := command(t.Context(), args...)
			if text := stderr.String(); code != exitFailed || stdout.String() != "" || !strings.Contains(text, "not enough space on the disk: ") || !strings.Contains(text, tc.says) || strings.Count(text, "\nhint: free space, ") != 1 || !strings.Contains(text, "--ignore-space goes on anyway") {
				t.Errorf("%s: status %d, %s%s", tc.format, code, stdout, text)
			}
			if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
				t.Errorf("%s: made %v, %v", tc.format, left, err)
			}
		}
		target := filepath.Join(disk, "home")
		args := []string{"restore", "--ignore-space", repo, target}
		if tc.into != "" {
			args = append(args, "--format", tc.into)
		}
		code, _, stderr := command(t.Context(), args...)
		if text := stderr.String(); code != exitFailed || !strings.Contains(text, "warning: restore into "+target+": not enough space on the disk: ") ||
			strings.Count(text, "make room") != 1 && tc.into == "" || strings.Count(text, "goes on where it stopped") != 1 || !strings.Contains(text, "no space left on device") && !strings.Contains(text, "disk full") {
			t.Errorf("%s on a full disk: status %d, %s", tc.format, code, text)
		}
		if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=512m,nr_inodes=100000"); err != nil {
			t.Fatal(err)
		}
		want(t, exitOK, "restored, going on from an interrupted restore", args...)
	}
}

// TestTheRoomOfARestoreIsAboutThatOfItsHome: it is no less, so that the disk does not become full, and not much more.
func TestTheRoomOfARestoreIsAboutThatOfItsHome(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bundled", "bushy", "flat"} {
		_, repo := chainOf(t, format)
		dir := t.TempDir()
		fsys, err := vfs.OS(repo)
		if err != nil {
			t.Fatal(err)
		}
		r, err := backup.Open(t.Context(), objstore.NewDir(fsys))
		if err != nil {
			t.Fatal(err)
		}
		plan, err := r.Newest(r.Backups[0].Identity)
		if err != nil {
			t.Fatal(err)
		}
		parent, err := vfs.OS(dir)
		if err != nil {
			t.Fatal(err)
		}
		room, err := restore.Room(t.Context(), restore.Options{Repository: r, Plan: plan, Parent: parent, Name: "home"})
		if err != nil {
			t.Fatal(err)
		}
		want(t, exitOK, "restored", "restore", repo, filepath.Join(dir, "home"))
		bytes, inodes := used(t, filepath.Join(dir, "home"))
		const slack = 40 // blocks and inodes, of the empty directories and the files of misc
		if bytes > room.Bytes+slack*4096 || room.Bytes > bytes*3/2+slack*4096 || inodes > room.Inodes+slack || room.Inodes > inodes+slack {
			t.Errorf("%s: %+v, and used are %d bytes and %d inodes", format, room, bytes, inodes)
		}
	}
}

// TestATrialRestoreThatHasNoRoomSaysNothingOfBackups: none is recorded as bad.
func TestATrialRestoreThatHasNoRoomSaysNothingOfBackups(t *testing.T) {
	t.Parallel()
	home, repo := chainOf(t, "bundled")
	disk := smallDisk(t, "600k")
	code, stdout, stderr := command(t.Context(), "backup", "verify", "--restore", "--tmp", disk, repo)
	if text := stderr.String(); code != exitFailed || stdout.String() != "" || !strings.Contains(text, "no restore could be tried: not enough space on the disk: ") || !strings.Contains(text, "hint: no backup is called bad for this; give another directory with --tmp") {
		t.Errorf("status %d, %s%s", code, stdout, text)
	}
	if noted, err := filepath.Glob(filepath.Join(repo, "*.verified.json")); err != nil || len(noted) > 0 {
		t.Errorf("%q, %v", noted, err)
	}
	want(t, exitOK, "nothing has changed since", "backup", "run", home, repo)
}
