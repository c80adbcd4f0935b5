package hometest

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEveryHomeIsUnpackedAndExpected(t *testing.T) {
	t.Parallel()
	names := Names(t)
	if len(names) != 15 {
		t.Errorf("%d homes, want 15", len(names))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home, want := Unpack(t, name), Expected(t, name)
			settings, err := os.ReadFile(filepath.Join(home, "config", "settings"))
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range []string{"format: " + want.Format, "classname: " + want.Class} {
				if !strings.Contains(string(settings), line+"\n") {
					t.Errorf("settings have no line %q", line)
				}
			}
			if len(want.Objects) != want.Counts.ObjectRevisions || len(want.Current) != want.Counts.OIDs || len(want.Transactions) != want.Counts.Transactions {
				t.Errorf("%d revisions, %d objects, %d transactions, want %+v", len(want.Objects), len(want.Current), len(want.Transactions), want.Counts)
			}
			if !maps.EqualFunc(Files(t, name), Contents(t, home), bytes.Equal) {
				t.Error("the files on the disk are not those of the archive")
			}
			dump := Dump(t, home)
			for _, o := range want.Objects {
				f, ok := dump[o.File]
				if pending := len(want.Before.Journal)+len(want.Before.FilesInB) > 0; !ok && !pending {
					t.Errorf("no file %s", o.File)
				}
				if ok && (f.SHA256 == "" || f.Mode.Perm()&0o640 != 0o640 || f.ModTime.Year() != 2024) {
					t.Errorf("%s is %+v", o.File, f)
				}
			}
		})
	}
}

func TestEveryCorruptHomeDiffersAsExpected(t *testing.T) {
	t.Parallel()
	names := CorruptNames(t)
	if len(names) != 19 {
		t.Errorf("%d homes, want 19", len(names))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := ExpectedCorrupt(t, name)
			if want.What == "" || len(want.Defects) == 0 || want.Base != "bushy" {
				t.Errorf("expected: %+v", want)
			}
			if maps.EqualFunc(Files(t, name), Files(t, want.Base), bytes.Equal) {
				t.Errorf("no file differs from those of %s", want.Base)
			}
		})
	}
}

func TestDumpNoticesEachChange(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(home string) error
	}{
		{"content", func(home string) error { return os.WriteFile(filepath.Join(home, "config/identity"), []byte("x"), 0) }},
		{"mode", func(home string) error { return os.Chmod(filepath.Join(home, "config/identity"), 0o600) }},
		{"removed", func(home string) error { return os.Remove(filepath.Join(home, "config/identity")) }},
		{"new directory", func(home string) error { return os.Mkdir(filepath.Join(home, "x"), 0o755) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			home := Unpack(t, "empty")
			before := Dump(t, home)
			if diff := cmp.Diff(before, Dump(t, home)); diff != "" {
				t.Fatalf("nothing changed, but:\n%s", diff)
			}
			if err := tc.change(home); err != nil {
				t.Fatal(err)
			}
			if cmp.Equal(before, Dump(t, home)) {
				t.Error("the dump is the same")
			}
		})
	}
}

func TestContentsOfNothingIsNothing(t *testing.T) {
	t.Parallel()
	if got := Contents(t, filepath.Join(t.TempDir(), "none")); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestFileStorageIsACopy(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"undo.fs", "before_pack.fs", "packed.fs", "crashed.fs", "blobs/Data.fs"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, rest, blobs := strings.Cut(name, "/")
			copied := FileStorage(t, dir)
			if blobs {
				copied = filepath.Join(copied, rest)
			}
			b, err := os.ReadFile(copied)
			if err != nil || !strings.HasPrefix(string(b), "FS30") {
				t.Errorf("%s begins with %q, %v", name, b[:min(4, len(b))], err)
			}
		})
	}
}

func TestMediumHasTheSizeThatIsExpected(t *testing.T) {
	t.Parallel()
	info, err := os.Stat(Medium(t))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		FileSize int64 `json:"file_size"`
	}
	if err := json.Unmarshal(Golden(t, "filestorage/medium.fs.json"), &want); err != nil {
		t.Fatal(err)
	}
	if info.Size() != want.FileSize {
		t.Errorf("%d bytes, want %d", info.Size(), want.FileSize)
	}
}
