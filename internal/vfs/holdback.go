//go:build unix

package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// HoldBack makes changes of names safe on a file system without a journal, and reports
// whether f is on one: ext4 that was made so, or ext2 that is mounted as ext4. There the inode of a file
// that was removed or replaced is free at once, and is written so, or used for another
// file or directory, while its name is still on the disk. After a power cut e2fsck takes the
// name away, though it should lead to the old file or to the new one; or it leads to
// another file.
//
// From now on such a file is kept until everything was synced: a removed file by a descriptor, a
// replaced file by another link, named prefix and a number. A crash leaves such links, for the
// caller to remove. It ends with the last lock that f holds. It may be called once, before f
// changes anything.
func HoldBack(f FS, prefix string) bool {
	o, ok := f.(*osFS)
	if !ok || !withoutJournal(o.root) {
		return false
	}
	o.holdBack(prefix)
	return true
}

func (f *osFS) holdBack(prefix string) {
	f.held.Store(&heldBack{prefix: f.Path(prefix), sync: f.syncAnew, open: openKept})
}

// maxHeld is how many files are kept before everything is synced for their sake, and maxHeldBytes
// how much of the disk files without a name may take up until then.
const (
	maxHeld      = 512
	maxHeldBytes = 16 << 20
)

// heldBack is the set of kept files. Its methods may be called concurrently.
type heldBack struct {
	prefix string
	sync   func() error
	open   func(path string) (fd int, err error)

	mu   sync.Mutex
	next int
	kept keptFiles
}

type keptFiles struct {
	fds   []int    // of files without a name
	bytes int64    // of the disk, that these take up
	links []string // of replaced files
}

func (k *keptFiles) len() int { return len(k.fds) + len(k.links) }

// take returns all that is kept, for release after a sync that begins now.
func (h *heldBack) take() keptFiles {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.kept
	h.kept = keptFiles{}
	return k
}

// putBack keeps on keeping, after a sync that failed.
func (h *heldBack) putBack(k keptFiles) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.fds = append(h.kept.fds, k.fds...)
	h.kept.bytes += k.bytes
	h.kept.links = append(h.kept.links, k.links...)
}

// release lets go the files that were kept before a sync. The links lose their names, and are kept
// by descriptor until the next one.
func (h *heldBack) release(k keptFiles) {
	for _, fd := range k.fds {
		_ = unix.Close(fd) // it was not even opened for reading
	}
	for _, link := range k.links {
		_ = h.removeKept(link) // it may stay
	}
}

// full syncs everything, if much is kept. An error keeps it; a caller that relies on a sync gets
// the error from its own.
func (h *heldBack) full() {
	h.mu.Lock()
	full := h.kept.len() >= maxHeld || h.kept.bytes >= maxHeldBytes
	h.mu.Unlock()
	if !full {
		return
	}
	k := h.take()
	if h.sync() != nil {
		h.putBack(k)
		return
	}
	h.release(k)
}

// close lets everything go. A holder that gives back its last lock has made its changes durable;
// only names in the directory of the links are left.
func (h *heldBack) close() {
	for range 2 { // the links, and the files that had these names
		k := h.take()
		if k.len() == 0 {
			return
		}
		_ = h.syncLinks() // nothing more can be done
		h.release(k)
	}
}

func (h *heldBack) syncLinks() error {
	d, err := os.Open(filepath.Dir(h.prefix))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (h *heldBack) remove(path string) error {
	h.full()
	err := h.removeKept(path)
	h.full() // the space of a large removed file is wanted
	return err
}

// openKept opens the file that a name leads to, so that it stays without the name.
func openKept(path string) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Open(path, openToKeep|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

func (h *heldBack) removeKept(path string) error {
	fd, oerr := h.open(path)
	if Passes(oerr) { // no descriptor, for one
		return h.removeLinked(path)
	}
	err := os.Remove(path)
	if oerr != nil {
		return err // that it is not there, for one
	}
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.fds = append(h.kept.fds, fd)
	h.kept.bytes += unlinkedBytes(fd)
	return nil
}

// unlinkedBytes returns how much of the disk a file takes up that has no name any more; 0 if it has.
func unlinkedBytes(fd int) int64 {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Nlink > 0 {
		return 0
	}
	return st.Blocks * 512
}

// removeLinked keeps the file that it removes by another link, where no descriptor can be had.
func (h *heldBack) removeLinked(path string) error {
	return h.keeping(path, func() error { return os.Remove(path) })
}

func (h *heldBack) rename(from, to string) error {
	h.full()
	return h.keeping(to, func() error { return os.Rename(from, to) })
}

// keeping makes a change by which a name no longer leads to its file, and keeps that, if
// there is one, by another link.
func (h *heldBack) keeping(path string, change func() error) error {
	link, linked := h.link(path)
	err := change()
	if !linked {
		return err
	}
	if err != nil {
		_ = os.Remove(link) // it is still kept by its name
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.links = append(h.kept.links, link)
	return nil
}

// link gives a file that is going to be replaced another name, if it exists and that is possible.
func (h *heldBack) link(of string) (name string, ok bool) {
	for {
		h.mu.Lock()
		h.next++
		name = fmt.Sprint(h.prefix, h.next)
		h.mu.Unlock()
		err := os.Link(of, name)
		if !errors.Is(err, fs.ErrExist) {
			return name, err == nil
		}
	}
}
