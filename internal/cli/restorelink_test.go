package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestRestoreToALink: the link that is the name of a HOME stays, and its target is restored.
// The link would else become a directory on its own disk, and the HOME to which it led be removed.
func TestRestoreToALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), in("home"))
	want(t, exitOK, "full backup", "backup", "full", in("home"), in("repo"))
	err := errors.Join(os.Mkdir(in("disk"), 0o755), os.Mkdir(in("disk/empty"), 0o755),
		os.Symlink("disk/copy", in("link")), os.Symlink("disk/empty", in("toempty")), os.Symlink("disk/nothing", in("tonothing")))
	if err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "restored", "restore", in("repo"), in("disk/copy"))
	want(t, exitOK, "packed to", "pack", "--keep", "0", in("link")) // another state
	want(t, exitOK, "from 1 backup: ", "restore", "--delta", in("repo"), in("link"))
	want(t, exitOK, "from 1 backup: ", "restore", in("repo"), in("toempty"))
	for link, real := range map[string]string{"link": "disk/copy", "toempty": "disk/empty"} {
		if to, err := os.Readlink(in(link)); to != real {
			t.Errorf("%s leads to %q: %v", link, to, err)
		}
		want(t, exitOK, "53 revisions, 14 transactions", "check", in(real))
	}
	for _, args := range [][]string{{"restore", in("repo"), in("tonothing")}, {"restore", "--delta", in("repo"), in("tonothing")}} {
		e, _, stderr := testEnv()
		if status := run(t.Context(), e, args); status != exitFailed || !strings.Contains(stderr.String(), "tonothing is a symbolic link to disk/nothing, which does not exist") {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
	}
}
