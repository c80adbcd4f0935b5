package vfs

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestLockIsGivenBackAlthoughAChildHasIt: a process that is being started has all
// files of its parent until it has its program.
func TestLockIsGivenBackAlthoughAChildHasIt(t *testing.T) {
	t.Parallel()
	fsys, err := OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := fsys.Lock("lock")
	if err != nil {
		t.Fatal(err)
	}
	child, err := unix.Dup(int(l.(*osLock).file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	if _, err := fsys.Lock("lock"); err == nil {
		t.Error("it was locked twice")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := fsys.Lock("lock")
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
