package classic_test

import (
	"path"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
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

func open(f vfs.FS, o classic.Options) (store.Store, error) {
	o.FS, o.Sync, o.DirSync, o.Clock = f, true, true, time.Now
	return classic.New(o)
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
				s, err := open(disk, classic.Options{Format: format})
				if err != nil {
					t.Fatal(err)
				}
				return s, disk
			})
		})
	}
}

func implementation(o classic.Options) storetest.Implementation {
	return storetest.Implementation{
		Make:   func(disk *crashfs.FS) error { return makeEmpty(disk, o.Format) },
		Open:   func(f vfs.FS) (store.Store, error) { return open(f, o) },
		Copies: classic.Copies{Format: o.Format},
	}
}

func TestClassicIsCopied(t *testing.T) {
	t.Parallel()
	for _, format := range layout.Formats() {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			storetest.Copies(t, implementation(classic.Options{Format: format}))
		})
	}
}

// TestClassicSurvives needs no more formats: they differ in directories alone. In pieces, a
// transaction is put in parts, with syncs between.
func TestClassicSurvives(t *testing.T) {
	t.Parallel()
	for _, tc := range hometest.Today(t, hometest.OneOf(1, 1, 3), []struct {
		name    string
		options classic.Options
	}{
		{"chunky", classic.Options{Format: layout.Chunky}},
		{"flat", classic.Options{Format: layout.Flat}},
		{"chunky in pieces", classic.Options{Format: layout.Chunky, PartLen: 1, SyncEvery: 2}},
	}) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			storetest.Faults(t, implementation(tc.options))
		})
	}
}
