package filestorage

import (
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// dir is as much of a vfs.FS as this package uses, on a real directory. It notes the syncs.
type dir struct {
	vfs.FS
	root   string
	synced []string
}

func newDir(t testing.TB) *dir { return &dir{root: t.TempDir()} }

func (d *dir) Path(name string) string              { return filepath.Join(d.root, name) }
func (d *dir) ReadFile(name string) ([]byte, error) { return os.ReadFile(d.Path(name)) }
func (d *dir) Rename(from, to string) error         { return os.Rename(d.Path(from), d.Path(to)) }
func (d *dir) Remove(name string) error             { return os.Remove(d.Path(name)) }
func (d *dir) SyncDir(name string) error            { d.synced = append(d.synced, name); return nil }

func (d *dir) Stat(name string) (vfs.Info, error) {
	info, err := os.Lstat(d.Path(name))
	if err != nil {
		return vfs.Info{}, err
	}
	return vfs.Info{Name: info.Name(), Size: info.Size(), Mode: info.Mode()}, nil
}

func (d *dir) Open(name string) (vfs.File, error) {
	f, err := os.Open(d.Path(name))
	return dirFile{File: f, d: d, name: name}, err
}

func (d *dir) Create(name string) (vfs.File, error) {
	f, err := os.OpenFile(d.Path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	return dirFile{File: f, d: d, name: name}, err
}

func (d *dir) List(name string) iter.Seq2[vfs.Entry, error] {
	return func(yield func(vfs.Entry, error) bool) {
		entries, err := os.ReadDir(d.Path(name))
		if err != nil {
			yield(vfs.Entry{}, err)
			return
		}
		for _, e := range entries {
			if !yield(vfs.Entry{Name: e.Name(), Type: e.Type()}, nil) {
				return
			}
		}
	}
}

type dirFile struct {
	*os.File
	d    *dir
	name string
}

// StartSync does nothing.
func (f dirFile) StartSync(_, _ int64) {}

func (f dirFile) Allocate(int64) error    { return vfs.ErrNotSupported }
func (f dirFile) Stat() (vfs.Info, error) { return f.d.Stat(f.name) }
func (f dirFile) Sync() error             { f.d.synced = append(f.d.synced, f.name); return f.File.Sync() }

// SyncTimes is Sync.
func (f dirFile) SyncTimes() error { return f.Sync() }
