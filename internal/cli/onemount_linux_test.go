package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestPartsOnOtherMountsAreRefused: a storage whose parts no rename leads to is not begun, because
// its first flush would make it read-only; it can still be read.
func TestPartsOnOtherMountsAreRefused(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"A", "B", "journal", "misc"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			home, out := filepath.Join(t.TempDir(), "home"), t.TempDir()
			want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
			repo := filepath.Join(t.TempDir(), "repo")
			want(t, exitOK, "full backup", "backup", "full", home, repo)
			// Of the same file system, where the device alone does not tell it.
			at, elsewhere := filepath.Join(home, part), filepath.Join(t.TempDir(), part)
			if err := errors.Join(os.Rename(at, elsewhere), os.Mkdir(at, 0o755)); err != nil {
				t.Fatal(err)
			}
			bindMount(t, elsewhere, at)
			before := hometest.Contents(t, filepath.Join(home, "A"))
			for _, args := range [][]string{
				{"serve", "--listen", "127.0.0.1:0", home}, {"pack", home}, {"recover", home},
				{"import", hometest.FileStorage(t, "undo.fs"), home}, {"restore", "--delta", repo, home},
			} {
				if args[0] == "restore" && part != "A" {
					continue // it needs no more than A
				}
				e, _, stderr := testEnv()
				status := run(t.Context(), e, args)
				if text := stderr.String(); status != exitFailed || !strings.Contains(text, part+" of "+home+": on another file system or mount than HOME itself") {
					t.Errorf("%q: status %d, %s", args, status, text)
				}
			}
			want(t, exitProblem, "mount: "+part+": on another file system or mount than HOME itself", "status", home)
			for _, args := range [][]string{{"check", home}, {"export", home, filepath.Join(out, "x.fs")}, {"backup", "full", home, filepath.Join(out, "repo")}} {
				want(t, exitOK, "", args...)
			}
			if !sameTree(before, hometest.Contents(t, filepath.Join(home, "A"))) {
				t.Error("A was changed")
			}
		})
	}
}

// TestLinkInPlaceOfADirectory: A may be a symbolic link within the file system, for each command.
func TestLinkInPlaceOfADirectory(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bundled", "chunky"} {
		t.Run(format, func(t *testing.T) { testLinkInPlaceOfADirectory(t, format) })
	}
}

func testLinkInPlaceOfADirectory(t *testing.T, format string) {
	dir := t.TempDir()
	home, real := filepath.Join(dir, "home"), filepath.Join(dir, "real")
	want(t, exitOK, "imported", "import", "--format", format, hometest.FileStorage(t, "undo.fs"), home)
	if err := errors.Join(os.Rename(filepath.Join(home, "A"), real), os.Symlink(real, filepath.Join(home, "A"))); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "53 revisions, 14 transactions", "check", home)
	want(t, exitOK, "files and directories: A ", "status", "--count", home)
	want(t, exitOK, "packed to", "pack", "--keep", "0", home)
	want(t, exitOK, "full backup", "backup", "full", home, filepath.Join(dir, "repo"))
	want(t, exitOK, "0 damaged", "check", home)
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	if err := vfs.OnOneMount(f, "A", "B", "journal", "misc", "nowhere"); err != nil {
		t.Error(err)
	}
	// One that leads to a file is not a storage.
	if err := errors.Join(os.Remove(filepath.Join(home, "A")), os.Symlink("config/settings", filepath.Join(home, "A"))); err != nil {
		t.Fatal(err)
	}
	e, stdout, stderr := testEnv()
	if status := run(t.Context(), e, []string{"check", home}); status == exitOK {
		t.Error(stdout, stderr)
	}
}
