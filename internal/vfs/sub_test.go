package vfs_test

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/vfstest"
)

func TestSubIsAFileSystem(t *testing.T) {
	t.Parallel()
	vfstest.Run(t, func(t *testing.T) vfs.FS {
		f, err := vfs.OS(t.TempDir())
		if err == nil {
			err = f.Mkdir("below")
		}
		if err != nil {
			t.Fatal(err)
		}
		return vfs.Sub(f, "below")
	})
}
