//go:build unix

package vfs

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mounter is what an FS may know of mounts.
type mounter interface {
	mountPoint(name string) (bool, error)
}

// MountPoint reports whether a file system is mounted at a directory: that has its name from
// the mount, so it can be neither renamed nor replaced. A symbolic link is not followed.
func MountPoint(f FS, name string) (bool, error) {
	if m, ok := f.(mounter); ok {
		return m.mountPoint(name)
	}
	return false, nil
}

func (f *osFS) mountPoint(name string) (bool, error) {
	path := f.Path(name)
	if yes, known := mounted(path); known {
		return yes, nil
	}
	var at, above unix.Stat_t
	err := retry(func() error { return unix.Lstat(path, &at) })
	if err == nil {
		err = retry(func() error { return unix.Stat(filepath.Dir(path), &above) })
	}
	if err != nil {
		return false, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return at.Dev != above.Dev, nil
}
