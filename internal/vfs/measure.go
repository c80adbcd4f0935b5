package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// diskBlock is how many bytes a file takes up at least, as far as nothing else is known.
const diskBlock = 4 << 10

// Occupies returns the bytes that a file takes up on the disk, or an estimate.
func (i Info) Occupies() int64 {
	if i.Disk >= 0 {
		return i.Disk
	}
	return (i.Size + diskBlock - 1) / diskBlock * diskBlock
}

// Frees returns the bytes that come back when a file loses its name: none if it has others.
func (i Info) Frees() int64 {
	if i.Links > 1 {
		return 0
	}
	return i.Occupies()
}

// Measure calls a function for a file, or for a directory and everything in it, with the bytes that
// each takes up on the disk: blocks, not its length. A directory comes before its entries, and is
// skipped if the function returns fs.SkipDir. Any other error ends it. Files removed meanwhile are
// passed over. Symbolic links are not followed, but with follow that of the name itself, if it
// leads to a directory.
func Measure(f FS, name string, follow bool, each func(name string, bytes int64, dir bool) error) error {
	info, err := f.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	bytes := info.Occupies()
	dir := info.IsDir() || follow && info.Mode&fs.ModeSymlink != 0 && listable(f, name)
	err = each(name, bytes, dir)
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	if err != nil || !dir {
		return err
	}
	for e, err := range f.List(name) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("measure %s: %w", name, err)
		}
		if err := Measure(f, path.Join(name, e.Name), false, each); err != nil {
			return err
		}
	}
	return nil
}

func listable(f FS, name string) bool {
	for _, err := range f.List(name) {
		return err == nil
	}
	return true
}
