package cli

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAWayOutOfDamageWithAFormat: restore --format names only flags that it accepts, and following
// its hint leads to a HOME of that format.
func TestAWayOutOfDamageWithAFormat(t *testing.T) {
	t.Parallel()
	dir, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w, err := filestorage.Create(dir, "Data.fs")
	if err != nil {
		t.Fatal(err)
	}
	err = w.Append(&zodb.Transaction{TID: 0x03F0_0000_0000_0001, Status: zodb.StatusDone}, func(yield func(zodb.Record, error) bool) {
		yield(zodb.Record{OID: 0, Data: packData("Root", "root", 1), Exists: true}, nil) // 1 does not exist
	})
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir.Path("."), name) }
	want(t, exitOK, "imported", "import", dir.Path("Data.fs"), in("home"))
	want(t, exitOK, "full backup", "backup", "full", in("home"), in("repo"))
	for _, c := range []struct{ format, hint string }{
		{"", "backed up; --accept-damage restores it as it was\n"},
		{"bundled", "backed up; --accept-damage restores it as it was\n"},
		{"lawn", "backed up; without --format, --accept-damage restores it as it was, and dirstorage convert makes a HOME of format lawn of that\n"},
	} {
		args := []string{"restore", in("repo"), in("new")}
		if c.format != "" {
			args = append(args, "--format", c.format)
		}
		e, _, stderr := testEnv()
		if status := run(t.Context(), e, args); status != exitDamage || !strings.Contains(stderr.String(), c.hint) {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
	}
	want(t, exitDamage, "1 damaged", "restore", "--accept-damage", in("repo"), in("new"))
	want(t, exitOK, "(lawn)", "convert", "--format", "lawn", in("new"), in("lawn"))
}
