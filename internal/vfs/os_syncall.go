//go:build unix

package vfs

import (
	"errors"
	"io/fs"
	"os"
)

func (f *osFS) SyncDir(name string) error {
	d, err := os.Open(f.Path(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SyncAll goes through the lock that is held longest, if there is one. Linux
// reports an error of writing back to each open file that asks, if it came
// after that file was opened or if nobody has seen it yet. So a file opened just
// now would miss one that somebody else's syncfs was told.
func (f *osFS) SyncAll() error {
	h := f.held.Load()
	if h == nil {
		return f.syncAll()
	}
	k := h.take()
	if err := f.syncAll(); err != nil {
		h.putBack(k)
		return err
	}
	h.release(k)
	return nil
}

func (f *osFS) syncAll() error {
	if held := f.oldestLock(); held != nil {
		// ErrClosed: it was released meanwhile.
		if err := f.syncThrough(held); !errors.Is(err, fs.ErrClosed) {
			return err
		}
	}
	return f.syncAnew()
}

// syncAnew is syncAll through a directory that is opened for it. An error that it sees
// is told to the next SyncAll, too.
func (f *osFS) syncAnew() error {
	d, err := os.Open(f.root)
	if err != nil {
		return err
	}
	return errors.Join(f.syncThrough(d), d.Close())
}

// syncThrough ends with an fsync of a file or directory, whichever it is: where a file
// system has no journal, Linux tells the disk to flush its cache before it writes the
// last blocks of names and inodes, and a power cut just after syncfs loses these (seen
// on ext4; the same function serves ext2 and FAT). The fsync flushes them. Elsewhere it
// finds nothing to do.
func (f *osFS) syncThrough(file *os.File) error {
	err := syncFS(file)
	if err == nil {
		err = retry(file.Sync)
	}
	if err == nil || errors.Is(err, ErrNotSupported) {
		return err
	}
	return &fs.PathError{Op: "sync file system of", Path: f.root, Err: err}
}

func (f *osFS) oldestLock() *os.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.locks) == 0 {
		return nil
	}
	return f.locks[0].file
}
