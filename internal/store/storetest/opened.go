package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// counting is a file system that counts its open files.
type counting struct {
	vfs.FS
	open atomic.Int64
}

// countedFile is an open file of it.
type countedFile struct {
	vfs.File
	of     *counting
	closed atomic.Bool
}

// Close implements [vfs.File].
func (f *countedFile) Close() error {
	if !f.closed.Swap(true) {
		f.of.open.Add(-1)
	}
	return f.File.Close()
}

func (f *counting) counted(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	f.open.Add(1)
	return &countedFile{File: file, of: f}, nil
}

// Open implements [vfs.FS].
func (f *counting) Open(name string) (vfs.File, error) { return f.counted(f.FS.Open(name)) }

// OpenWrite implements [vfs.FS].
func (f *counting) OpenWrite(name string) (vfs.File, error) { return f.counted(f.FS.OpenWrite(name)) }

// Create implements [vfs.FS].
func (f *counting) Create(name string) (vfs.File, error) { return f.counted(f.FS.Create(name)) }

// opened opens a store, does something with it, and closes it. Then nothing of it is open.
func (impl Implementation) opened(disk vfs.FS, do func(s store.Store) error) error {
	f := &counting{FS: disk}
	s, err := impl.Open(f)
	if err != nil {
		return err
	}
	if err := errors.Join(do(s), s.Close()); err != nil {
		return err
	}
	if n := f.open.Load(); n != 0 {
		return fmt.Errorf("%d files are open after the close: %w", n, errContent)
	}
	return nil
}
