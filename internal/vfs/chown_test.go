//go:build linux

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// TestFailedChownLeavesNothing: neither a descriptor, nor the file, which would be in the way
// of the next attempt.
func TestFailedChownLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "of another user")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := f.(*osFS)
	if o.super {
		if err := os.Chown(dir, 4711, 4812); err != nil {
			t.Skip(err)
		}
	} else {
		o.super = true // the directory is no root's either way
	}
	o.actAs = func(owner, func() error) error { return ErrNotSupported }
	cause := error(syscall.EIO)
	var asked []string
	o.chownAt = func(_ int, name string, _ owner) error {
		asked = append(asked, name)
		return cause
	}
	ways := map[string]func() error{
		"created": func() error {
			file, err := f.Create("created")
			if err == nil {
				err = file.Close()
			}
			return err
		},
		"put":  func() error { _, err := Put(f, "put", nil, false); return err },
		"made": func() error { return f.Mkdir("made") },
		"lock": func() error {
			l, err := f.Lock("lock")
			if err == nil {
				err = l.Close()
			}
			return err
		},
	}
	for what, way := range ways {
		if err := way(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v, want the error of chown", what, err)
		}
	}
	if len(asked) != len(ways) {
		t.Errorf("the owner of %q was changed, want one file each", asked)
	}
	for _, path := range openBelow(t, dir) {
		t.Errorf("%s is open", path)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	for _, cause = range []error{nil, syscall.EPERM} { // a file system without owners
		for what, way := range ways {
			if err := way(); err != nil {
				t.Errorf("%s, again: %v", what, err)
			}
			if err := os.Remove(filepath.Join(dir, what)); err != nil {
				t.Error(err)
			}
		}
	}
}

// openBelow returns the files below a directory that the process has open.
func openBelow(t *testing.T, dir string) (paths []string) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, e := range all {
		path, err := os.Readlink("/proc/self/fd/" + e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if in, _ := filepath.Rel(dir, path); in != "" && filepath.IsLocal(in) && in != "." {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}
