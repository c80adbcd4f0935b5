package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
)

// TestPackRemovesBlobsWithoutRevision: a pack removes revisions before their blobs, and its plan
// may be given up between the two, beside a copy of A for one.
func TestPackRemovesBlobsWithoutRevision(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	commit(t, s, change{oid: 0, data: rec("root", 1)}, change{oid: 1, data: rec("stays"), blob: "first"}, change{oid: 2, data: rec("goes"), blob: "two"})
	old := s.LastTransaction()
	commit(t, s, change{oid: 1, data: rec("stays"), blob: "second"})
	commit(t, s, change{oid: 0, data: rec("root", 1, 1)})
	kept := s.LastTransaction()
	doPack(t, s, PackOptions{})
	blobs := []string{fileOfA(t, s.Home(), layout.Blob(1, old)), fileOfA(t, s.Home(), layout.Blob(2, old))}
	young := fileOfA(t, s.Home(), layout.Blob(0, kept+1)) // no pack explains it
	for _, name := range append(blobs, young) {
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("left"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, s, change{oid: 0, data: rec("root", 1)})
	if r := doPack(t, s, PackOptions{DryRun: true}); r.Blobs != 2 || r.Bytes < 8 {
		t.Errorf("a dry run finds %d blobs, %d bytes, want 2, of 4 bytes each", r.Blobs, r.Bytes)
	}
	if r := doPack(t, s, PackOptions{}); r.Blobs != 2 {
		t.Errorf("removed %d blobs, want 2", r.Blobs)
	}
	for _, name := range blobs {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}
