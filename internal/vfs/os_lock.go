//go:build unix

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

func (f *osFS) Lock(name string) (Lock, error) {
	file, err := f.openOrCreate(f.Path(name))
	if err != nil {
		return nil, err
	}
	if err := f.flock(name, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	l := &osLock{fs: f, name: name, file: file}
	if err := l.sign(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f.keep(l), nil
}

func (f *osFS) LockDir(name string) (Lock, error) {
	dir, err := os.OpenFile(f.Path(name), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := f.flock(name, dir); err != nil {
		if errors.Is(err, unix.EBADF) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
			err = ErrNotSupported
		}
		return nil, errors.Join(err, dir.Close())
	}
	return f.keep(&osLock{fs: f, name: name, file: dir}), nil
}

// keep remembers a lock until it is closed.
func (f *osFS) keep(l *osLock) *osLock {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locks = append(f.locks, l)
	return l
}

// flock locks an open file without waiting.
func (f *osFS) flock(name string, file *os.File) error {
	err := withFD(file, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		content := make([]byte, 64)
		n, rerr := file.ReadAt(content, 0)
		if rerr != nil && !errors.Is(rerr, io.EOF) {
			n = 0 // the holder stays unknown, as that of a directory
		}
		return NewLockedError(name, content[:n])
	}
	if err != nil {
		return &fs.PathError{Op: "lock", Path: f.Path(name), Err: err}
	}
	return nil
}

type osLock struct {
	fs   *osFS
	name string
	file *os.File
}

// sign writes our process id. On a full disk the lock is good without it.
func (l *osLock) sign() error {
	err := l.file.Truncate(0)
	if err == nil {
		_, err = l.file.WriteAt(LockContent(os.Getpid()), 0)
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil
	}
	return err
}

func (l *osLock) Check() error {
	held, err := l.file.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(l.fs.Path(l.name))
	if err != nil {
		return err
	}
	if !os.SameFile(held, named) {
		return &fs.PathError{Op: "check lock", Path: l.fs.Path(l.name), Err: errors.New("another file is in its place")}
	}
	return nil
}

func (l *osLock) Close() error {
	l.fs.mu.Lock()
	l.fs.locks = slices.DeleteFunc(l.fs.locks, func(other *osLock) bool { return other == l })
	last := len(l.fs.locks) == 0
	l.fs.mu.Unlock()
	if last {
		if h := l.fs.held.Swap(nil); h != nil {
			h.close()
		}
	}
	// A process that another goroutine is starting has the file open, too, until it
	// has its program; closing ours alone would not give the lock back before.
	err := withFD(l.file, func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
	return errors.Join(err, l.file.Close())
}
