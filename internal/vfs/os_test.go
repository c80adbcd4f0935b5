package vfs_test

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/vfstest"
)

func TestOperatingSystem(t *testing.T) {
	t.Parallel()
	vfstest.Run(t, func(t *testing.T) vfs.FS {
		f, err := vfs.OS(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
}

func TestSpaceIsKnown(t *testing.T) {
	t.Parallel()
	f, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if s, err := f.Space(); err != nil || s.TotalBytes == 0 || s.FreeBytes > s.TotalBytes {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestNamesThatPeopleGive(t *testing.T) {
	t.Parallel()
	a, b := t.TempDir(), t.TempDir()
	if !vfs.SameDir(a, a+"/../"+a[len(a)-3:]) || vfs.SameDir(a, b) || vfs.SameDir(a, a+"/none") {
		t.Error("SameDir is wrong")
	}
	f, name, err := vfs.Split(a + "/x")
	if err != nil || name != "x" || f.Path(name) != a+"/x" {
		t.Errorf("%s, %v", name, err)
	}
}
