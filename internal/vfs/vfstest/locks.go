package vfstest

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

func locks(t *testing.T, f vfs.FS) {
	lock, err := f.Lock("l")
	ok(t, err)
	_, err = f.Lock("l")
	locked, isLocked := errors.AsType[*vfs.LockedError](err)
	if !isLocked || !errors.Is(err, vfs.ErrLocked) || locked.Name == "" {
		t.Errorf("taken twice: %v", err)
	}
	ok(t, lock.Check())
	ok(t, lock.Close())
	again, err := f.Lock("l")
	ok(t, err)
	ok(t, f.Remove("l"))
	if err := again.Check(); err == nil {
		t.Error("that the lock file was removed is not noticed")
	}
	put(t, f, "l", "")
	if err := again.Check(); err == nil {
		t.Error("that the lock file was replaced is not noticed")
	}
	ok(t, again.Close())
}

func dirLocks(t *testing.T, f vfs.FS) {
	_, err := f.LockDir("d")
	fails(t, err, fs.ErrNotExist)
	_, err = f.Stat("d")
	fails(t, err, fs.ErrNotExist)
	put(t, f, "file", "")
	_, err = f.LockDir("file")
	fails(t, err, syscall.ENOTDIR)
	ok(t, f.Mkdir("d"))
	lock, err := f.LockDir("d")
	ok(t, err)
	_, err = f.LockDir("d")
	locked, isLocked := errors.AsType[*vfs.LockedError](err)
	if !isLocked || !errors.Is(err, vfs.ErrLocked) || locked.Name == "" || locked.PID != 0 {
		t.Errorf("taken twice: %v", err)
	}
	ok(t, lock.Check())
	put(t, f, "d/a", "it is no hindrance within")
	ok(t, f.Rename("d", "e"))
	if _, err := f.LockDir("e"); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("taken twice by another name: %v", err)
	}
	if err := lock.Check(); err == nil {
		t.Error("that the directory has another name is not noticed")
	}
	ok(t, lock.Close())
	again, err := f.LockDir("e")
	ok(t, err)
	ok(t, again.Close())
}
