package cli

import (
	"errors"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestImportAndCheckListWhatDangles: how much, of which classes, and no more than a screen.
func TestImportAndCheckListWhatDangles(t *testing.T) {
	t.Parallel()
	dir, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w, err := filestorage.Create(dir, "Data.fs")
	if err != nil {
		t.Fatal(err)
	}
	many := make([]zodb.OID, 25)
	for i := range many {
		many[i] = zodb.OID(100 + i)
	}
	err = w.Append(&zodb.Transaction{TID: 0x03F0_0000_0000_0001, Status: zodb.StatusDone}, func(yield func(zodb.Record, error) bool) {
		_ = yield(zodb.Record{OID: 0, Data: packData("Root", "root", 1), Exists: true}, nil) &&
			yield(zodb.Record{OID: 1, Data: packData("Folder", "x", many...), Exists: true}, nil)
	})
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(t.TempDir(), "home")
	code, stdout, stderr := command(t.Context(), "import", dir.Path("Data.fs"), home)
	if code != exitOK {
		t.Errorf("status %d\n%s%s", code, stdout, stderr)
	}
	for _, pattern := range []string{
		`(?m)^warning: 25 references lead to objects that do not exist`,
		`(?m)^  object 0000000000000001 \(app\.Folder\) refers to 0000000000000064$`,
		`(?m)^  and 5 more; dirstorage check lists them$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(stderr.String()) {
			t.Errorf("no line %s in\n%s", pattern, stderr)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^  object `).FindAllString(stderr.String(), -1)); n != maxDanglingLines {
		t.Errorf("%d are listed, want %d", n, maxDanglingLines)
	}
	want(t, exitDamage, `referred to by 0000000000000001 class "app.Folder" at 03F0000000000001`, "check", home)
	want(t, exitDamage, "\n25 objects are missing that something refers to.", "check", home)
	want(t, exitDamage, `"from_class":"app.Folder"`, "check", "--json", home)
	want(t, exitDamage, `"dangling":25`, "check", "--json", home)
}
