package vfs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestRootMakesFilesForTheOwnerOfTheDirectory looks at each way to make a file.
func TestRootMakesFilesForTheOwnerOfTheDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can make files for others")
	}
	const uid, gid = 4711, 4812
	for _, of := range []struct {
		name     string
		mode     os.FileMode
		uid, gid uint32 // of the new files
	}{
		{"their own", 0o700, uid, gid},
		{"not writable", 0o500, uid, gid},
		{"for everybody", 0o777 | os.ModeSticky, uid, gid}, // a volume, often
	} {
		t.Run(of.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "dir") // in a directory that they cannot enter
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(dir, uid, gid); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, of.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
				t.Fatal(err)
			}
			f, err := vfs.OS(dir)
			if err != nil {
				t.Fatal(err)
			}
			created, err := f.Create("created")
			if err == nil {
				err = created.Close()
			}
			if err == nil {
				_, err = vfs.Put(vfs.Sub(f, "."), "put", []byte("data"), true)
			}
			var lock vfs.Lock
			if err == nil {
				lock, err = f.Lock("lock")
			}
			if err == nil {
				err = lock.Close()
			}
			if err == nil {
				err = f.Mkdir("made")
			}
			if err == nil {
				_, err = vfs.Put(f, "made/below", nil, false)
			}
			if err == nil {
				err = f.SetReadOnly("put")
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"created", "put", "lock", "made", "made/below"} {
				info, err := os.Lstat(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if st := info.Sys().(*syscall.Stat_t); st.Uid != of.uid || st.Gid != of.gid {
					t.Errorf("%s belongs to %d:%d, not to %d:%d", name, st.Uid, st.Gid, of.uid, of.gid)
				}
			}
		})
	}
	// Nothing of it is left in this thread, or any other.
	name := filepath.Join(t.TempDir(), "own")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestIsMine: a path that is not there is of the nearest directory above it; all is root's anyway.
func TestIsMine(t *testing.T) {
	t.Parallel()
	dir, mine := t.TempDir(), os.Geteuid() != 0
	for path, want := range map[string]bool{"": false, "/": false, dir: mine, filepath.Join(dir, "not/there"): mine} {
		if got := vfs.IsMine(path); got != want {
			t.Errorf("%q: %t", path, got)
		}
	}
}
