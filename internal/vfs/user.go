package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Split returns the directory in which name is, and the name there: "NEW" and "NEW/"
// are the same, as are "." and the full name of the working directory.
func Split(name string) (FS, string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, "", err
	}
	dir, err := OS(filepath.Dir(abs))
	return dir, filepath.Base(abs), err
}

// SplitReal is [Split] of the target, if name is a symbolic link: for a file or directory that is
// to be exchanged or filled in place of the link. The error says so if it leads to nothing.
func SplitReal(name string) (FS, string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, "", err
	}
	info, err := os.Lstat(abs)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return Split(abs)
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		to, _ := os.Readlink(abs)
		return nil, "", fmt.Errorf("%s is a symbolic link to %s, which does not exist; make that directory, or remove the link", abs, to)
	}
	if err != nil {
		return nil, "", err
	}
	return Split(real)
}

// MissingDirError says that a directory does not exist in which something is to be
// made. It matches fs.ErrNotExist.
type MissingDirError struct{ Path string }

func (e *MissingDirError) Error() string { return "there is no directory " + e.Path }

// Is matches fs.ErrNotExist.
func (e *MissingDirError) Is(target error) bool { return target == fs.ErrNotExist }

// WantDir returns a *MissingDirError if f does not exist, and an error that says so if
// it is a file.
func WantDir(f FS) error {
	if _, err := f.Stat("."); errors.Is(err, fs.ErrNotExist) {
		return &MissingDirError{f.Path(".")}
	}
	return wantDir(f, ".")
}

// ReadFile returns the whole content of a file that somebody named.
func ReadFile(name string) ([]byte, error) {
	dir, base, err := Split(name)
	if err != nil {
		return nil, err
	}
	return dir.ReadFile(base)
}

// SameDir reports whether two names lead to one directory.
func SameDir(a, b string) bool {
	x, errX := stat(a)
	y, errY := stat(b)
	return errX == nil && errY == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

func stat(dir string) (Info, error) {
	f, err := OS(dir)
	if err != nil {
		return Info{}, err
	}
	return f.Stat(".")
}
