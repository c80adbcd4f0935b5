package classic_test

import (
	"path"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

// makeEmpty makes the database directories, with nothing in them.
func makeEmpty(disk *crashfs.FS, format layout.Format) error {
	for _, d := range []string{"A", "B", "journal", "misc"} {
		if err := disk.Mkdir(d); err != nil {
			return err
		}
	}
	for _, f := range classic.Empty(format) {
		if _, err := vfs.MkdirAll(disk, path.Dir(f.Path)); err != nil {
			return err
		}
		if _, err := vfs.Put(disk, f.Path, f.Content, true); err != nil {
			return err
		}
	}
	return disk.SyncAll()
}

func open(f vfs.FS, format layout.Format) (store.Store, error) {
	return classic.New(classic.Options{FS: f, Format: format, Sync: true, DirSync: true, Clock: time.Now})
}

func TestClassicConforms(t *testing.T) {
	t.Parallel()
	for _, format := range layout.Formats() {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			storetest.Conformance(t, func(t *testing.T) (store.Store, vfs.FS) {
				disk := crashfs.New(1)
				if err := makeEmpty(disk, format); err != nil {
					t.Fatal(err)
				}
				s, err := open(disk, format)
				if err != nil {
					t.Fatal(err)
				}
				return s, disk
			})
		})
	}
}

// TestClassicSurvives needs no more formats: they differ in directories alone.
func TestClassicSurvives(t *testing.T) {
	t.Parallel()
	for _, format := range []layout.Format{layout.Chunky, layout.Flat} {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			storetest.Faults(t, storetest.Implementation{
				Make: func(disk *crashfs.FS) error { return makeEmpty(disk, format) },
				Open: func(f vfs.FS) (store.Store, error) { return open(f, format) },
			})
		})
	}
}
