package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Names that are not objects.
const (
	lockFile  = ".lock"
	tmpPrefix = ".tmp-"
)

// Dir is a directory of objects, each an ordinary file. The root of its FS is
// the directory.
type Dir struct {
	fs vfs.FS
}

var _ Store = (*Dir)(nil)

// NewDir returns the store in the root of a file system. It touches no disk.
func NewDir(f vfs.FS) *Dir { return &Dir{fs: f} }

// Path returns the name of the file.
func (d *Dir) Path(name string) string {
	if name == "" {
		name = "."
	}
	return d.fs.Path(name)
}

// Put writes a file aside, makes it durable and renames it.
func (d *Dir) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	aside := tmpPrefix + name
	f, err := d.fs.Create(aside)
	if errors.Is(err, fs.ErrExist) {
		if err = d.fs.Remove(aside); err == nil {
			f, err = d.fs.Create(aside)
		}
	}
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.fs.Rename(aside, name)
	}
	if err != nil {
		return errors.Join(err, d.fs.Remove(aside))
	}
	return d.fs.SyncDir(".")
}

// Get opens a file.
func (d *Dir) Get(_ context.Context, name string) (Object, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f, err := d.fs.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode.IsRegular() {
		err = fmt.Errorf("%s is not an ordinary file", d.fs.Path(name))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &object{File: f, size: info.Size}, nil
}

type object struct {
	vfs.File
	size int64
}

func (o *object) Size() int64 { return o.size }

// List yields the files of the directory that are objects.
func (d *Dir) List(ctx context.Context) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for e, err := range d.fs.List(".") {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Info{}, err)
				return
			}
			if checkName(e.Name) != nil || !e.Type.IsRegular() {
				continue
			}
			info, err := d.fs.Stat(e.Name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if !yield(Info{Name: e.Name, Size: info.Size}, err) || err != nil {
				return
			}
		}
	}
}

// Delete removes a file.
func (d *Dir) Delete(_ context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := d.fs.Remove(name); err != nil {
		return err
	}
	return d.fs.SyncDir(".")
}

// Lock takes flock(2) on a file of the directory.
func (d *Dir) Lock(context.Context) (io.Closer, error) {
	l, err := d.fs.Lock(lockFile)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("something else changes the backups in %s: %w", d.fs.Path("."), err)
	}
	return l, err
}

// Sync makes the names durable. The contents are, of every file that was renamed.
func (d *Dir) Sync(context.Context) error { return d.fs.SyncDir(".") }

// Sweep removes files that were never renamed.
func (d *Dir) Sweep(context.Context) error {
	var names []string
	for e, err := range d.fs.List(".") {
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Name, tmpPrefix) && e.Type.IsRegular() {
			names = append(names, e.Name)
		}
	}
	for _, name := range names {
		if err := d.fs.Remove(name); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		return d.fs.SyncDir(".")
	}
	return nil
}

// checkName keeps names to one path element that no shell, file system or URL
// treats specially.
func checkName(name string) error {
	ok := name != "" && len(name) <= 200 && name[0] != '.' && name[0] != '-'
	for i := range len(name) {
		c := name[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_')
	}
	if !ok {
		return fmt.Errorf("%q is not the name of an object: %w", name, fs.ErrInvalid)
	}
	return nil
}
