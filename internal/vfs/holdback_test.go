package vfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/vfstest"
)

// TestHoldBackIsNotSeen: a holder-back is a file system like any other.
func TestHoldBackIsNotSeen(t *testing.T) {
	t.Parallel()
	vfstest.Run(t, func(t *testing.T) vfs.FS {
		f, err := vfs.OS(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		vfs.HoldBackAnyway(f, "held-")
		return f
	})
}

// TestWhatWasRemovedOrReplacedIsKept until everything was synced, not many of them, and
// no longer than a lock is held.
func TestWhatWasRemovedOrReplacedIsKept(t *testing.T) {
	t.Parallel()
	f, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock("lock")
	if err != nil {
		t.Fatal(err)
	}
	vfs.HoldBackAnyway(f, "held-")
	if _, err := vfs.Put(f, "held-1", []byte("of a process that was killed"), false); err != nil {
		t.Fatal(err)
	}
	links := func() (n int) {
		for name, err := range vfs.Walk(f, ".") {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, "held-") {
				n++
			}
		}
		return n - 1
	}
	replace := func(n int) {
		t.Helper()
		if err := vfs.WriteFileAtomic(f, "aside", "a", fmt.Append(nil, n), vfs.SyncOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	before := open(t)
	replace(0)
	if links() != 0 {
		t.Error("nothing was replaced, and something is kept")
	}
	for n := 1; n <= 3; n++ {
		replace(n)
		if err := f.Remove("a"); err != nil {
			t.Fatal(err)
		}
		replace(n)
	}
	if got := links(); got != 3 {
		t.Errorf("%d links, want 3", got)
	}
	if b, err := f.ReadFile("held-2"); err != nil || string(b) != "0" {
		t.Errorf("what was replaced first is %q, %v", b, err)
	}
	if got := open(t) - before; got != 3 {
		t.Errorf("%d files are kept open, want 3", got)
	}
	for range 2 { // of the link there is a descriptor after the first
		if err := f.SyncAll(); err != nil {
			t.Fatal(err)
		}
	}
	if links() != 0 || open(t) != before {
		t.Errorf("after syncs of everything there are %d links and %d more files open", links(), open(t)-before)
	}
	for n := range 3 * vfs.MaxHeld {
		if replace(n); links() > vfs.MaxHeld || open(t)-before > vfs.MaxHeld {
			t.Fatalf("%d links, %d more files open", links(), open(t)-before)
		}
	}
	if links() == 0 {
		t.Error("nothing is kept")
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if links() != 0 || open(t) > before {
		t.Errorf("when the lock is given back there are %d links and %d more files open", links(), open(t)-before)
	}
}

// TestSpaceOfWhatWasRemovedComesBack: not much of the disk belongs to files that have no name any more.
func TestSpaceOfWhatWasRemovedComesBack(t *testing.T) {
	t.Parallel()
	f, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	vfs.HoldBackAnyway(f, "held-")
	before := open(t)
	for n := range 40 {
		if _, err := vfs.Put(f, "a", make([]byte, 1<<20), false); err != nil {
			t.Fatal(err)
		}
		if err := f.Remove("a"); err != nil {
			t.Fatal(err)
		}
		if kept := open(t) - before; kept > 16 || n < 10 && kept != n+1 {
			t.Fatalf("%d files of 1 MiB were removed, %d are open", n+1, kept)
		}
	}
	if _, err := vfs.Put(f, "a", make([]byte, 16<<20), false); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if kept := open(t) - before; kept != 0 {
		t.Errorf("%d files are open after a large one was removed", kept)
	}
}

// open returns how many files this process has open below its temporary directory.
func open(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.Contains(to, t.Name()) {
			n++
		}
	}
	return n
}

// TestWhatIsRemovedIsKeptWithoutDescriptors: it has another name then, until everything was
// synced and there are descriptors again.
func TestWhatIsRemovedIsKeptWithoutDescriptors(t *testing.T) {
	t.Parallel()
	f, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	vfs.HoldBackAnyway(f, "held-")
	if _, err := vfs.Put(f, "a", []byte("a"), false); err != nil {
		t.Fatal(err)
	}
	vfs.NoDescriptors(f, syscall.EMFILE)
	if err := f.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Stat("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was removed: %v", err)
	}
	if b, err := f.ReadFile("held-1"); string(b) != "a" {
		t.Errorf("what is kept: %q, %v", b, err)
	}
	vfs.NoDescriptors(f, nil)
	if err := f.SyncAll(); err != nil && !errors.Is(err, vfs.ErrNotSupported) {
		t.Fatal(err)
	}
	if _, err := f.Stat("held-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a sync: %v", err)
	}
}
