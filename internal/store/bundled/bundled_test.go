package bundled_test

import (
	"path"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

// makeEmpty makes the database directories, with nothing in them.
func makeEmpty(disk vfs.FS) error {
	for _, d := range []string{"A", "B", "journal", "misc"} {
		if err := disk.Mkdir(d); err != nil {
			return err
		}
	}
	for _, f := range bundled.Empty() {
		if _, err := vfs.MkdirAll(disk, path.Dir(f.Path)); err != nil {
			return err
		}
		if _, err := vfs.Put(disk, f.Path, f.Content, true); err != nil {
			return err
		}
	}
	return disk.SyncAll()
}

func open(f vfs.FS) (store.Store, error) {
	return bundled.New(bundled.Options{FS: f, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 2, CommitEvery: 3})
}

func TestBundledConforms(t *testing.T) {
	t.Parallel()
	storetest.Conformance(t, func(t *testing.T) (store.Store, vfs.FS) {
		disk := crashfs.New(1)
		if err := makeEmpty(disk); err != nil {
			t.Fatal(err)
		}
		s, err := open(disk)
		if err != nil {
			t.Fatal(err)
		}
		return s, disk
	})
}

func TestBundledSurvives(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	storetest.Faults(t, storetest.Implementation{Make: func(disk *crashfs.FS) error { return makeEmpty(disk) }, Open: open, Every: 4})
}

func TestBundledIsCopied(t *testing.T) {
	t.Parallel()
	storetest.Copies(t, storetest.Implementation{Make: func(disk *crashfs.FS) error { return makeEmpty(disk) }, Open: open, Copies: bundled.Copies{}})
}
