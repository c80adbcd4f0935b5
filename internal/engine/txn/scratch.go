package txn

import (
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// scratch is a file in journal/ for data of a caller that has no memory for them. A crash leaves it behind,
// and the next open removes it. Its methods are called by one goroutine at a time.
type scratch struct {
	m    *Manager
	file vfs.File
	name string
}

// Scratch makes a file that is empty. It is to be closed.
func (m *Manager) Scratch() (zodb.Scratch, error) {
	name := m.stagedName("spool")
	f, err := m.o.Home.FS.Create(name)
	if err != nil {
		return nil, m.o.State.Refused(err)
	}
	return &scratch{m: m, file: f, name: name}, nil
}

// WriteAt writes at an offset. After an error it may be tried again.
func (f *scratch) WriteAt(b []byte, offset int64) (int, error) {
	n, err := f.file.WriteAt(b, offset)
	if err != nil {
		err = f.m.o.State.Refused(err)
	}
	return n, err
}

// ReadAt reads at an offset, like [io.ReaderAt].
func (f *scratch) ReadAt(b []byte, offset int64) (int, error) { return f.file.ReadAt(b, offset) }

// Close removes the file.
func (f *scratch) Close() error {
	if err := errors.Join(f.file.Close(), f.m.o.Home.FS.Remove(f.name)); err != nil {
		return fmt.Errorf("remove the file %s: %w", f.name, err)
	}
	return nil
}
