package classic

import (
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Files beside the database, for the tests of package classic_test.
const (
	FloorFile      = floorFile
	AsideFloorFile = asideFloorFile
	AsideFile      = asideFile
)

// Again opens the store anew, as the next process does.
func (t *Store) Again() (*Store, error) { return New(t.o) }

// Floor is the time in nanoseconds that no new file is older than.
func (t *Store) Floor() int64 { return t.floor.Load() }

// FileInfo returns that of a file, and its path.
func (t *Store) FileInfo(n layout.Name) (info vfs.Info, path string, err error) { return t.stat(n) }

// MakeDirs makes a directory and those above it, and owes their names.
func (t *Store) MakeDirs(dir string) error { return t.mkdirs(dir) }

// PutMark puts a mark whose name is not durable yet.
func (t *Store) PutMark(side store.Side, n layout.Name, data []byte) error {
	return t.putMark(side, n, data)
}
