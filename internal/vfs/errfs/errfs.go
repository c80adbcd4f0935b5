package errfs

import (
	"errors"
	"io/fs"
	"iter"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Op is one operation that is about to be done.
type Op struct {
	N    int    // from 1
	Kind string // open, openwrite, create, read, write, allocate, sync, close, mkdir, remove, rename, exchange, link, stat, list, touch, chmod, syncdir, syncall, lock, space
	Name string // of the file, with which it was opened; the new one of a rename or link
}

// Changes reports whether the operation writes or makes something durable.
func (o Op) Changes() bool {
	switch o.Kind {
	case "create", "write", "allocate", "sync", "mkdir", "remove", "rename", "exchange", "link", "touch", "chmod", "syncdir", "syncall":
		return true
	}
	return false
}

// FS is another file system, with errors. All methods may be called concurrently.
type FS struct {
	inner vfs.FS

	mu     sync.Mutex
	n      int
	decide func(Op) error
	short  atomic.Bool
}

var _ vfs.FS = (*FS)(nil)

// New returns a file system that is the inner one. decide is called before each
// operation, by one goroutine at a time, and its error becomes that of the
// operation, which is not done. nil = never.
func New(inner vfs.FS, decide func(Op) error) *FS { return &FS{inner: inner, decide: decide} }

// Decide sets another function, or none.
func (f *FS) Decide(decide func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decide = decide
}

// ShortWrites makes each write that fails do the first half of its work.
func (f *FS) ShortWrites() { f.short.Store(true) }

// NoShortWrites makes each write that fails do nothing again. Both may be called by the function
// that decides which operations fail.
func (f *FS) NoShortWrites() { f.short.Store(false) }

// Ops returns how many operations there were.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *FS) ask(kind, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.decide == nil {
		return nil
	}
	if err := f.decide(Op{N: f.n, Kind: kind, Name: name}); err != nil {
		return &fs.PathError{Op: kind, Path: f.inner.Path(name), Err: err}
	}
	return nil
}

func (f *FS) file(name string, open func(string) (vfs.File, error), kind string) (vfs.File, error) {
	if err := f.ask(kind, name); err != nil {
		return nil, err
	}
	inner, err := open(name)
	if err != nil {
		return nil, err
	}
	return &file{File: inner, fs: f, name: name}, nil
}

// Open is part of vfs.FS, as are the rest.
func (f *FS) Open(name string) (vfs.File, error) { return f.file(name, f.inner.Open, "open") }

// OpenWrite may fail.
func (f *FS) OpenWrite(name string) (vfs.File, error) {
	return f.file(name, f.inner.OpenWrite, "openwrite")
}

// Create may fail.
func (f *FS) Create(name string) (vfs.File, error) { return f.file(name, f.inner.Create, "create") }

// ReadFile may fail.
func (f *FS) ReadFile(name string) ([]byte, error) {
	if err := f.ask("read", name); err != nil {
		return nil, err
	}
	return f.inner.ReadFile(name)
}

// Mkdir may fail.
func (f *FS) Mkdir(name string) error {
	return f.do("mkdir", name, func() error { return f.inner.Mkdir(name) })
}

// Remove may fail.
func (f *FS) Remove(name string) error {
	return f.do("remove", name, func() error { return f.inner.Remove(name) })
}

// Rename may fail.
func (f *FS) Rename(oldName, newName string) error {
	return f.do("rename", newName, func() error { return f.inner.Rename(oldName, newName) })
}

// Exchange may fail.
func (f *FS) Exchange(a, b string) error {
	return f.do("exchange", b, func() error { return f.inner.Exchange(a, b) })
}

// Link may fail.
func (f *FS) Link(oldName, newName string) error {
	return f.do("link", newName, func() error { return f.inner.Link(oldName, newName) })
}

// Stat may fail.
func (f *FS) Stat(name string) (vfs.Info, error) {
	if err := f.ask("stat", name); err != nil {
		return vfs.Info{}, err
	}
	return f.inner.Stat(name)
}

// List may fail before its first entry.
func (f *FS) List(dir string) iter.Seq2[vfs.Entry, error] {
	if err := f.ask("list", dir); err != nil {
		return func(yield func(vfs.Entry, error) bool) { yield(vfs.Entry{}, err) }
	}
	return f.inner.List(dir)
}

// SetModTime may fail.
func (f *FS) SetModTime(name string, t time.Time) error {
	return f.do("touch", name, func() error { return f.inner.SetModTime(name, t) })
}

// SetReadOnly may fail.
func (f *FS) SetReadOnly(name string) error {
	return f.do("chmod", name, func() error { return f.inner.SetReadOnly(name) })
}

// SyncDir may fail.
func (f *FS) SyncDir(name string) error {
	return f.do("syncdir", name, func() error { return f.inner.SyncDir(name) })
}

// SyncAll may fail.
func (f *FS) SyncAll() error {
	err := f.ask("syncall", ".")
	if err == nil {
		return f.inner.SyncAll()
	}
	failed(f.inner, err)
	return err
}

// failed tells a file system or a file that a sync failed, if it wants to know: unsynced data may
// never become durable then.
func failed(inner any, err error) {
	if errors.Is(err, vfs.ErrNotSupported) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return // it was not even begun
	}
	if i, ok := inner.(interface{ SyncFailed(cause error) }); ok {
		cause := err
		if p, ok := errors.AsType[*fs.PathError](err); ok {
			cause = p.Err
		}
		i.SyncFailed(cause)
	}
}

// Lock may fail.
func (f *FS) Lock(name string) (vfs.Lock, error) {
	if err := f.ask("lock", name); err != nil {
		return nil, err
	}
	return f.inner.Lock(name)
}

// LockDir may fail.
func (f *FS) LockDir(name string) (vfs.Lock, error) {
	if err := f.ask("lock", name); err != nil {
		return nil, err
	}
	return f.inner.LockDir(name)
}

// Space may fail.
func (f *FS) Space() (vfs.Space, error) {
	if err := f.ask("space", "."); err != nil {
		return vfs.Space{}, err
	}
	return f.inner.Space()
}

// Path is that of the inner file system.
func (f *FS) Path(name string) string { return f.inner.Path(name) }

func (f *FS) do(kind, name string, inner func() error) error {
	if err := f.ask(kind, name); err != nil {
		return err
	}
	return inner()
}

// file is an open file whose operations may fail.
type file struct {
	vfs.File
	fs   *FS
	name string
}

func (f *file) Read(b []byte) (int, error) {
	if err := f.fs.ask("read", f.name); err != nil {
		return 0, err
	}
	return f.File.Read(b)
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	if err := f.fs.ask("read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

func (f *file) Write(b []byte) (int, error) {
	return f.write(b, func(b []byte) (int, error) { return f.File.Write(b) })
}

func (f *file) WriteAt(b []byte, off int64) (int, error) {
	return f.write(b, func(b []byte) (int, error) { return f.File.WriteAt(b, off) })
}

func (f *file) write(b []byte, inner func([]byte) (int, error)) (int, error) {
	err := f.fs.ask("write", f.name)
	if err == nil {
		return inner(b)
	}
	n := 0
	if f.fs.short.Load() {
		n, _ = inner(b[:len(b)/2]) // the error that was asked for counts
	}
	return n, err
}

func (f *file) Sync() error { return f.sync(f.File.Sync) }

func (f *file) SyncTimes() error { return f.sync(f.File.SyncTimes) }

func (f *file) sync(inner func() error) error {
	err := f.fs.ask("sync", f.name)
	if err == nil {
		return inner()
	}
	failed(f.File, err)
	return err
}

func (f *file) Allocate(size int64) error {
	return f.fs.do("allocate", f.name, func() error { return f.File.Allocate(size) })
}

func (f *file) Close() error {
	err := f.fs.ask("close", f.name)
	if cerr := f.File.Close(); err == nil {
		err = cerr
	}
	return err
}
