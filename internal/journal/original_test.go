package journal_test

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// lay makes files, and directories for names that end in a slash.
func lay(tb testing.TB, f vfs.FS, names ...string) {
	tb.Helper()
	for _, n := range names {
		n = path.Join(testDir, n) + strings.Repeat("/", strings.Count(n[len(n)-1:], "/"))
		dir, isDir := strings.CutSuffix(n, "/")
		if !isDir {
			dir = path.Dir(n)
		}
		if err := f.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			tb.Fatal(err)
		}
		if isDir {
			continue
		}
		file, err := f.Create(n)
		if err != nil {
			tb.Fatal(err)
		}
		if err := file.Close(); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestDirectoriesOfTheOriginalAreFound(t *testing.T) {
	t.Parallel()
	f := newHome(t)
	o, err := journal.ReadOriginal(f, testDir)
	if err != nil || !o.Empty() {
		t.Errorf("empty journal: %+v, %v", o, err)
	}
	lay(t, f, "log-0000000000000001", "spare-1", "blob-00-1", "spool-00-2", "aside-counts")
	if o, err = journal.ReadOriginal(f, testDir); err != nil || !o.Empty() {
		t.Errorf("our own files: %+v, %v", o, err)
	}
	lay(t, f,
		"working_00000000000000FF_done/o0000000000000001.00000000000000FF", "working_00000000000000FF_done/o0000000000000001.c",
		"working_00000000000000FF_done/t000000.00000000FF", "working_00000000000000FF_done/x.serial",
		"working_000000000000000A_done/", "working_0000000000000002_temp/", "working_0000000000000001_temp/x.oid", "replica.tar")
	want := &journal.Original{
		Done: []journal.OriginalDir{
			{TID: 10, Dir: "working_000000000000000A_done"},
			{TID: 255, Dir: "working_00000000000000FF_done", Names: []layout.Name{
				layout.Revision(1, 255), layout.Pointer(1), layout.Transaction(255), layout.XSerial}},
		},
		Temps:   []string{"working_0000000000000001_temp", "working_0000000000000002_temp"},
		Replica: journal.ReplicaFile,
	}
	o, err = journal.ReadOriginal(f, testDir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, o); d != "" {
		t.Error(d)
	}
}

func TestStrangeThingsInTheJournalAreRefused(t *testing.T) {
	t.Parallel()
	for name, entry := range map[string]string{
		"file":                        "notes.txt",
		"copy of a directory":         "working_0000000000000001_done.bak/",
		"lower-case tid":              "working_000000000000000a_done/",
		"short tid":                   "working_01_done/",
		"another state":               "working_0000000000000001_half/",
		"file instead of a directory": "working_0000000000000001_done",
		"directory instead of a file": "replica.tar/",
		"directory named as segment":  "log-0000000000000001/",
		"file in a transaction":       "working_0000000000000001_done/notes.txt",
		"directory in a transaction":  "working_0000000000000001_done/x.serial/",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newHome(t)
			if parent := path.Dir(strings.TrimSuffix(entry, "/")); parent != "." {
				lay(t, f, parent+"/")
			}
			lay(t, f, entry)
			_, err := journal.ReadOriginal(f, testDir)
			if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(entry, "/")) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := journal.ReadOriginal(newHome(t), "nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}
