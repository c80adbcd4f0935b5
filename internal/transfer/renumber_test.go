package transfer

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestRenumberedTransactionsKeepTheirBlobs: the files of blobs have the tids that are in the
// Data.fs, in both layouts, and the revisions other ones.
func TestRenumberedTransactionsKeepTheirBlobs(t *testing.T) {
	t.Parallel()
	for _, layout := range []filestorage.BlobLayout{filestorage.BlobBushy, filestorage.BlobLawn} {
		blob := []byte("\x80\x03cZODB.blob\nBlob\n.\x80\x03N.")
		name := fileNamed(t, map[zodb.OID][]byte{0: holder("Root", 1)}, map[zodb.OID][]byte{1: blob}, map[zodb.OID][]byte{1: blob}, map[zodb.OID][]byte{1: blob})
		// The clock went back before the third one.
		old := zodb.TID(0x03E0_0000_0000_0007)
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, bytes.ReplaceAll(file, tidOf(2).Bytes(), old.Bytes()), 0o644); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		inFile := []zodb.TID{tidOf(1), old, tidOf(3)}
		for _, tid := range inFile {
			path := filepath.Join(dir, filepath.FromSlash(layout.Path(1, tid)))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, fmt.Appendf(nil, "blob of %s", tid), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, ".layout"), []byte(layout), 0o644); err != nil {
			t.Fatal(err)
		}
		blobs, err := vfs.OS(dir)
		if err != nil {
			t.Fatal(err)
		}
		home := enginetest.Home(t, engine.CreateOptions{})
		s := enginetest.Open(t, home, engine.Options{History: engine.HistoryCopied})
		for i, want := range []int64{4, 0} { // and once more, which adds nothing
			done, err := Import(t.Context(), s, reader(t, name), ImportOptions{Blobs: blobs, Renumber: true})
			if err != nil || done.Transactions != want || done.Blobs != []int64{3, 0}[i] || done.MissingBlobs != 0 {
				t.Fatalf("%s: %+v, %v", layout, done, err)
			}
		}
		for i, tid := range []zodb.TID{tidOf(1), tidOf(1) + 1, tidOf(3)} {
			f, err := s.OpenBlob(t.Context(), 1, tid)
			if err != nil {
				t.Fatalf("%s: blob of revision %s: %v", layout, tid, err)
			}
			got, err := io.ReadAll(f)
			if want := fmt.Sprintf("blob of %s", inFile[i]); err != nil || string(got) != want {
				t.Errorf("%s: revision %s has %q, %v; want %q", layout, tid, got, err, want)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		enginetest.Clean(t, home)
	}
}
