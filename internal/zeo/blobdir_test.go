package zeo

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

// lookAsAClient returns an error if a client that starts now takes another layout than
// bushy for the directory: ZODB does if there is anything in it, tmp included, without
// a .layout.
func lookAsAClient(f vfs.FS, dir string) error {
	if b, err := f.ReadFile(dir + "/" + layoutFile); err == nil {
		if string(b) != string(filestorage.BlobBushy) {
			return fmt.Errorf("the layout is %q", b)
		}
		return nil
	}
	if _, err := f.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // it makes it
	}
	for e, err := range f.List(dir) {
		if err != nil {
			return err
		}
		if e.Name[0] != '.' {
			return fmt.Errorf("%s is there, and no layout", e.Name)
		}
	}
	return nil
}

// TestABlobDirIsThereWithItsLayout stops the making of a shared blob directory at each operation: a
// client that looks then sees it as it will be, also after a crash, and the next start makes it.
func TestABlobDirIsThereWithItsLayout(t *testing.T) {
	t.Parallel()
	for _, there := range []bool{false, true} { // an empty directory of an administrator
		makeIt := func(f vfs.FS) error {
			err := makeBlobDir(f, "blobs")
			if err == nil {
				err = populateBlobDir(vfs.Sub(f, "blobs"), filestorage.BlobBushy)
			}
			return err
		}
		for n := 1; ; n++ {
			f := crashfs.New(1)
			if there {
				if err := errors.Join(f.Mkdir("blobs"), f.SyncDir(".")); err != nil {
					t.Fatal(err)
				}
			}
			f.CrashAt(f.Ops() + n)
			err := makeIt(f)
			for name, state := range map[string]*crashfs.FS{"then": f.Killed(), "nothing kept": f.Crashed(crashfs.KeepNone), "all kept": f.Crashed(crashfs.KeepAll),
				"some kept": f.Crashed(crashfs.Random(uint32(n)))} {
				if lerr := lookAsAClient(state, "blobs"); lerr != nil {
					t.Errorf("directory there before: %t, operation %d, %s: %v", there, n, name, lerr)
				}
				if err := makeIt(state); err != nil {
					t.Fatalf("operation %d, %s: made again: %v", n, name, err)
				}
				if _, err := state.Stat("blobs/tmp"); err != nil {
					t.Error(err)
				}
				if b, err := state.ReadFile("blobs/" + layoutFile); err != nil || string(b) != "bushy" {
					t.Errorf("layout %q, %v", b, err)
				}
			}
			if err == nil {
				break
			}
			if !errors.Is(err, crashfs.ErrCrashed) {
				t.Fatal(err)
			}
		}
	}
}
