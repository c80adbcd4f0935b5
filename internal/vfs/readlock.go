//go:build unix

package vfs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// LockToRead is [FS.Lock] for readers: nobody changes the locked files meanwhile. On a read-only
// file system, and for a user who may only read, nothing can be written into the lock file, but it is
// locked all the same. If it does not exist on a read-only file system, no other process can make it
// either, and the lock counts as held.
func LockToRead(f FS, name string) (Lock, error) {
	lock, err := f.Lock(name)
	if o, ok := f.(*osFS); ok && (errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission)) {
		return o.lockToRead(name, errors.Is(err, unix.EROFS))
	}
	return lock, err
}

func (f *osFS) lockToRead(name string, readOnly bool) (Lock, error) {
	file, err := os.Open(f.Path(name))
	if readOnly && errors.Is(err, fs.ErrNotExist) {
		return noLock{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := f.flock(name, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &osLock{fs: f, name: name, file: file}, nil
}

// noLock stands for a lock file that is not there and cannot be made.
type noLock struct{}

func (noLock) Check() error { return nil }
func (noLock) Close() error { return nil }

// IsReadOnly reports whether an error says that the file system is mounted read-only.
func IsReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }
