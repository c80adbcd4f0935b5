package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func syncFS(fd int) error { return unix.Syncfs(fd) }

func dataSync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return grow(f, size)
	}
	return err
}
