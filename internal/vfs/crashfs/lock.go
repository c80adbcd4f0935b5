package crashfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// lock is a lock that is held.
type lock struct {
	fs   *FS
	name string
	n    *node
}

// Lock implements vfs.FS. A lock excludes others on this FS; those that
// Crashed and Killed return have none. The content is that of a real lock
// file, and may go beyond the limit of space: a full disk does not prevent a lock.
func (f *FS) Lock(name string) (vfs.Lock, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, err := f.lock(name)
	if err = f.first(err); err != nil {
		if errors.Is(err, vfs.ErrLocked) {
			return nil, err
		}
		return nil, f.pathError("lock", name, err)
	}
	return l, nil
}

// LockDir implements vfs.FS. Nothing is changed, so Ops does not count it.
func (f *FS) LockDir(name string) (vfs.Lock, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.findDir(name)
	if err = f.first(err); err != nil {
		return nil, f.pathError("lock", name, err)
	}
	if f.locks[n.ino] != nil {
		return nil, vfs.NewLockedError(name, nil)
	}
	return f.hold(name, n), nil
}

// hold gives out the lock of a node. mu is held.
func (f *FS) hold(name string, n *node) *lock {
	n.handles++
	l := &lock{fs: f, name: name, n: n}
	f.locks[n.ino] = l
	return l
}

func (f *FS) lock(name string) (*lock, error) {
	at, n, err := f.findPlace(name)
	if err != nil {
		return nil, err
	}
	var space int64
	switch {
	case n == nil:
		space = sectorSize
	case n.isDir():
		return nil, syscall.EISDIR
	case f.locks[n.ino] != nil:
		content := make([]byte, n.size)
		n.readAt(content, 0)
		return nil, vfs.NewLockedError(name, content)
	}
	if err := f.begin(space, "lock %s", name); err != nil {
		return nil, err
	}
	if n == nil {
		n = f.newFile(at)
	}
	before := n.extent()
	n.rewrite(vfs.LockContent(os.Getpid()), f.clock())
	f.used += n.extent() - before
	return f.hold(name, n), nil
}

// Check implements vfs.Lock.
func (l *lock) Check() error {
	f := l.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.first(nil)
	if err == nil && f.locks[l.n.ino] != l {
		err = fs.ErrClosed
	}
	var n *node
	if err == nil {
		n, err = f.find(l.name)
	}
	if err == nil && n != l.n {
		err = errors.New("another file is in its place")
	}
	return f.pathError("check lock", l.name, err)
}

// Close implements vfs.Lock.
func (l *lock) Close() error {
	f := l.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.first(nil)
	if err == nil && f.locks[l.n.ino] != l {
		err = fs.ErrClosed
	}
	if err != nil {
		return f.pathError("unlock", l.name, err)
	}
	delete(f.locks, l.n.ino)
	l.n.handles--
	f.release(l.n)
	return nil
}
