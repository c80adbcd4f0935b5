package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func syncFS(f *os.File) error { return withFD(f, unix.Syncfs) }

func dataSync(f *os.File) error { return withFD(f, unix.Fdatasync) }

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
