package classic_test

import (
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

// emptyHome returns a disk with the database directories and nothing in them.
func emptyHome(t testing.TB, format layout.Format) *crashfs.FS {
	t.Helper()
	disk := crashfs.New(1)
	for _, d := range []string{"A", "B", "journal", "misc"} {
		if err := disk.Mkdir(d); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range classic.Empty(format) {
		if err := vfs.WriteFileAtomic(disk, "journal/aside", "misc/new", f.Content, vfs.SyncOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := vfs.MkdirAll(disk, f.Path[:len(f.Path)-len(lastElement(f.Path))-1]); err != nil {
			t.Fatal(err)
		}
		if err := disk.Rename("misc/new", f.Path); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.SyncAll(); err != nil {
		t.Fatal(err)
	}
	return disk
}

func lastElement(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return p[i+1:]
		}
	}
	return p
}

func open(t testing.TB, f vfs.FS, format layout.Format) *classic.Store {
	t.Helper()
	s, err := classic.New(classic.Options{FS: f, Format: format, Sync: true, DirSync: true, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestClassicConforms(t *testing.T) {
	t.Parallel()
	for _, format := range layout.Formats() {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			storetest.Conformance(t, func(t *testing.T) store.Store { return open(t, emptyHome(t, format), format) })
		})
	}
}

// TestClassicSurvives needs no more formats: they differ in directories alone.
func TestClassicSurvives(t *testing.T) {
	t.Parallel()
	for _, format := range []layout.Format{layout.Chunky, layout.Flat} {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			storetest.Faults(t, emptyHome(t, format), func(t testing.TB, f vfs.FS) store.Store { return open(t, f, format) })
		})
	}
}
