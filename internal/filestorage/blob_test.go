package filestorage

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/zodb"
)

func TestBlobPathsAreZODBs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		layout BlobLayout
		oid    zodb.OID
		tid    zodb.TID
		want   string
	}{
		{BlobBushy, 1, 0x03f6ed1905555555, "b/0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x03f6ed1905555555.blob"},
		{BlobBushy, 0xAB00000000001234, 0x0000000000000ABC, "b/0xab/0x00/0x00/0x00/0x00/0x00/0x12/0x34/0x0abc.blob"},
		{BlobLawn, 0, 0x03f6ed1905555555, "b/0x00/0x03f6ed1905555555.blob"},
		{BlobLawn, 0x1234, 0x03f6ed1905555555, "b/0x1234/0x03f6ed1905555555.blob"},
		{BlobLawn, 0x0AB00, 0, "b/0xab00/0x00.blob"},
	} {
		if got := path.Join("b", tc.layout.Path(tc.oid, tc.tid)); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.layout, got, tc.want)
		}
	}
}

// TestGoldenBlobsAreFound checks that the blobs of the golden storage are just
// the files that its records lead to.
func TestGoldenBlobsAreFound(t *testing.T) {
	t.Parallel()
	files := goldenBlobs(t)
	data, want := goldenFile(t, "blobs")
	got := []string{"blobs/.layout"}
	for txn, err := range open(t, data).Transactions(t.Context(), Position{}) {
		if err != nil {
			t.Fatal(err)
		}
		for rec, err := range txn.Records() {
			if err != nil {
				t.Fatal(err)
			}
			if rec.Exists && IsBlobRecord(rec.Data) {
				got = append(got, path.Join("blobs", BlobBushy.Path(rec.OID, rec.TID)))
			}
		}
	}
	slices.Sort(got)
	var names []string
	for _, f := range want.BlobFiles {
		names = append(names, f.File)
		if _, ok := files["blobs/"+f.File]; !ok {
			t.Errorf("%s is not in the archive", f.File)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOnlyRecordsOfBlobsAreBlobs(t *testing.T) {
	t.Parallel()
	blob := "\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N."
	var packed bytes.Buffer
	packed.WriteString(".z")
	w := zlib.NewWriter(&packed)
	if _, err := w.Write([]byte(blob)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		record string
		want   bool
	}{
		"blob":                 {blob, true},
		"blob in zlib":         {packed.String(), true},
		"old form":             {"((U\x09ZODB.blobU\x04BlobtNt.N.", true},
		"other class":          {"ca\nb\n.N.", false},
		"other class there":    {"cZODB.blob\nBlobFile\n.N.", false},
		"refers to the module": {"ca\nb\n.cZODB.blob\nBlob\n.", false},
		"no pickle":            {"ZODB.blob Blob", false},
		"nothing":              {"", false},
	} {
		if got := IsBlobRecord([]byte(tc.record)); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestBlobLayoutIsDetected(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files map[string]string
		want  BlobLayout
	}{
		"marked bushy":      {map[string]string{".layout": "bushy", "0x00/x": ""}, BlobBushy},
		"marked lawn":       {map[string]string{".layout": "lawn\n"}, BlobLawn},
		"without a mark":    {map[string]string{"0x01/0x02.blob": ""}, BlobLawn},
		"empty":             {nil, BlobBushy},
		"only tmp and dots": {map[string]string{"tmp/x": "", ".removed": ""}, BlobBushy},
		"unknown mark":      {map[string]string{".layout": "forest"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fsys := newDir(t)
			for file, content := range tc.files {
				file = filepath.Join(fsys.root, "blobs", file)
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o777), os.WriteFile(file, []byte(content), 0o666)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.MkdirAll(filepath.Join(fsys.root, "blobs"), 0o777); err != nil {
				t.Fatal(err)
			}
			got, err := DetectLayout(fsys, "blobs")
			if got != tc.want || (err != nil) != (tc.want == "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if _, err := DetectLayout(newDir(t), "blobs"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestCreatedFileAppearsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	fsys := newDir(t)
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(fsys.root, name))
		return err == nil
	}
	w, err := Create(fsys, "Data.fs")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(txn(1), records(nil, data(1, "one", 0))); err != nil {
		t.Fatal(err)
	}
	if exists("Data.fs") {
		t.Error("is there before Close")
	}
	if _, err := Create(fsys, "Data.fs"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second one at the same time: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if exists("Data.fs.tmp") || strings.Join(fsys.synced, " ") != "Data.fs.tmp ." {
		t.Errorf("after Close: tmp %v, synced %q", exists("Data.fs.tmp"), fsys.synced)
	}
	r, err := Open(fsys, "Data.fs")
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, r, Position{}); len(got) != 1 || r.Size() != w.Size() {
		t.Errorf("%d transactions, %d bytes", len(got), r.Size())
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Create(fsys, "Data.fs"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an existing one: %v", err)
	}
	w, err = Create(fsys, "other.fs")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil || exists("other.fs") || exists("other.fs.tmp") {
		t.Errorf("after Abort: %v", err)
	}
	w, err = Create(fsys, "late.fs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(fsys.root, "late.fs"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); !errors.Is(err, fs.ErrExist) || exists("late.fs.tmp") {
		t.Errorf("somebody made one meanwhile: %v", err)
	}
	if _, err := Open(fsys, "none.fs"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of nothing: %v", err)
	}
}
