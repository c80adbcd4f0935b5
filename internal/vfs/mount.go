//go:build unix

package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mounter is an optional interface of an FS that knows its mounts.
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

// MountOf returns the directory at which the file system is mounted that holds a path, or that
// would hold it if it existed; "" if that cannot be told.
func MountOf(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			path = real
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return ""
		}
		path = filepath.Dir(path)
	}
	for path != filepath.Dir(path) {
		yes, known := mounted(path)
		if !known {
			return mountByDevice(path)
		}
		if yes {
			return path
		}
		path = filepath.Dir(path)
	}
	return path
}

// SpreadError says that parts of a HOME are on other mounts than HOME itself.
type SpreadError struct {
	Home  string
	Parts []string
}

func (e *SpreadError) Error() string {
	return fmt.Sprintf("%s of %s: on another file system or mount than HOME itself, where files could not be moved to it by a rename, nor be synced with the rest; mount that disk at HOME, or make HOME as a whole a symbolic link, and move all of it there", strings.Join(e.Parts, ", "), e.Home)
}

// OnOneMount returns a *SpreadError if directories of f, or those to which they lead as symbolic
// links, are on other mounts than f itself, so that no rename can lead from one to another. A
// directory that does not exist does not count, nor does an FS that knows of no mounts.
func OnOneMount(f FS, names ...string) error {
	o, ok := f.(*osFS)
	if !ok {
		return nil
	}
	home, err := mountID(o.Path("."))
	if err != nil {
		return err
	}
	spread := &SpreadError{Home: o.Path(".")}
	for _, name := range names {
		id, err := mountID(o.Path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && id != home {
			spread.Parts = append(spread.Parts, name)
		}
	}
	if len(spread.Parts) > 0 {
		return spread
	}
	return nil
}

// mountedAt tells mounts apart: by the device, and by the mount where the system tells it.
type mountedAt struct{ device, mount uint64 }

// mountID returns the mount on which a file is, or the file to which it leads.
func mountID(path string) (mountedAt, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(path, &st) }); err != nil {
		return mountedAt{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return mountedAt{device: uint64(st.Dev), mount: mountNumber(path)}, nil
}

// mountByDevice is MountOf where the system does not tell of mounts: of directories that are on
// different devices the lower one is a mount point.
func mountByDevice(path string) string {
	for path != filepath.Dir(path) {
		var at, above unix.Stat_t
		if unix.Lstat(path, &at) != nil || unix.Stat(filepath.Dir(path), &above) != nil {
			return ""
		}
		if at.Dev != above.Dev {
			break
		}
		path = filepath.Dir(path)
	}
	return path
}
