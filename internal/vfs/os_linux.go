package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func syncFS(f *os.File) error { return withFD(f, unix.Syncfs) }

func dataSync(f *os.File) error { return withFD(f, unix.Fdatasync) }

func fdDataSync(fd int) error { return unix.Fdatasync(fd) }

func startSync(f *os.File, offset, length int64) {
	_ = withFD(f, func(fd int) error { return unix.SyncFileRange(fd, offset, length, unix.SYNC_FILE_RANGE_WRITE) })
}

func allocate(f *os.File, size int64) error {
	if size <= 0 {
		return nil // which fallocate refuses
	}
	err := withFD(f, func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return grow(f, size)
	}
	return err
}

func exchange(a, b string) error {
	err := retry(func() error { return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return ErrNotSupported // by this file system, or this kernel
	}
	return err
}
