package engine

import (
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Scratch is a file in journal/ for what a caller has no memory for. A crash leaves it behind,
// and the next open removes it. Its methods are called by one goroutine at a time.
type Scratch struct {
	s    *Storage
	file vfs.File
	name string
}

// Scratch makes a file that is empty. It is to be closed.
func (s *Storage) Scratch() (*Scratch, error) {
	name := s.stagedName("spool")
	f, err := s.fs.Create(name)
	if err != nil {
		return nil, s.refused(err)
	}
	return &Scratch{s: s, file: f, name: name}, nil
}

// WriteAt writes at an offset. After an error it may be tried again.
func (f *Scratch) WriteAt(b []byte, offset int64) (int, error) {
	n, err := f.file.WriteAt(b, offset)
	if err != nil {
		err = f.s.refused(err)
	}
	return n, err
}

// ReadAt reads at an offset, like [io.ReaderAt].
func (f *Scratch) ReadAt(b []byte, offset int64) (int, error) { return f.file.ReadAt(b, offset) }

// Close removes the file.
func (f *Scratch) Close() error {
	if err := errors.Join(f.file.Close(), f.s.fs.Remove(f.name)); err != nil {
		return fmt.Errorf("remove the file %s: %w", f.name, err)
	}
	return nil
}
