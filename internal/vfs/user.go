package vfs

import "path/filepath"

// Split returns the directory of a file that somebody named, and the name of
// the file in it.
func Split(name string) (FS, string, error) {
	dir, err := OS(filepath.Dir(name))
	return dir, filepath.Base(name), err
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
