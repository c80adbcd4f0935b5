package crashfs

import (
	"io"
	"io/fs"
	"syscall"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// file is an open file. FS.mu guards all of it.
type file struct {
	fs       *FS
	name     string // when it was opened
	n        *node
	pos      int64
	writable bool
	closed   bool
}

// handle opens a node. mu is held.
func (f *FS) handle(name string, n *node, writable bool) *file {
	n.handles++
	return &file{fs: f, name: name, n: n, writable: writable}
}

// ready says why the file can't be used. mu is held.
func (h *file) ready() error {
	if h.closed {
		return fs.ErrClosed
	}
	return h.fs.alive()
}

func (h *file) Read(p []byte) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n, err := h.readAt(p, h.pos)
	h.pos += int64(n)
	if n > 0 {
		err = nil // Read gives the end of the file the next time
	}
	return n, err
}

func (h *file) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.readAt(p, off)
}

func (h *file) readAt(p []byte, off int64) (int, error) {
	err := h.ready()
	if err == nil && off < 0 {
		err = syscall.EINVAL
	}
	if err != nil {
		return 0, h.fs.pathError("read", h.name, err)
	}
	n := h.n.readAt(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *file) Write(p []byte) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n, err := h.writeAt(p, h.pos)
	h.pos += int64(n)
	return n, err
}

func (h *file) WriteAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.writeAt(p, off)
}

// writeAt writes as much as there is room for, as write(2) does.
func (h *file) writeAt(p []byte, off int64) (int, error) {
	err := h.ready()
	switch {
	case err != nil:
	case !h.writable:
		err = syscall.EBADF
	case off < 0:
		err = syscall.EINVAL
	case len(p) == 0:
		return 0, nil
	}
	if err != nil {
		return 0, h.fs.pathError("write", h.name, err)
	}
	fits := int(min(int64(len(p)), max(h.room()-off, 0)))
	if fits > 0 {
		if err := h.fs.step("write %s %d %d", h.name, off, fits); err != nil {
			return 0, h.fs.pathError("write", h.name, err)
		}
		before := h.n.extent()
		h.n.write(off, p[:fits], h.fs.clock())
		h.fs.used += h.n.extent() - before
	}
	if fits < len(p) {
		return fits, h.fs.pathError("write", h.name, syscall.ENOSPC)
	}
	return fits, nil
}

// room is the offset up to which the disk has space for the file. mu is held.
func (h *file) room() int64 {
	const most = 1 << 62
	if h.fs.limit == 0 {
		return most
	}
	free := max(h.fs.limit-h.fs.used, 0)
	return h.n.extent() + free/sectorSize*sectorSize
}

func (h *file) Seek(offset int64, whence int) (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.ready()
	pos := offset
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		pos += h.pos
	case io.SeekEnd:
		pos += h.n.size
	default:
		pos = -1
	}
	if err == nil && pos < 0 {
		err = syscall.EINVAL
	}
	if err != nil {
		return 0, h.fs.pathError("seek", h.name, err)
	}
	h.pos = pos
	return pos, nil
}

func (h *file) Sync() error { return h.sync((*node).sync) }

func (h *file) SyncTimes() error { return h.sync((*node).syncAll) }

func (h *file) sync(how func(*node)) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.ready()
	if err == nil {
		err = h.fs.step("sync %s", h.name)
	}
	if err == nil && h.n.unseen != nil {
		err, h.n.unseen = h.n.unseen, nil
		h.n.lose()
	}
	if err != nil {
		return h.fs.pathError("sync", h.name, err)
	}
	how(h.n)
	return nil
}

// SyncFailed has the effects of a Sync that fails: the contents stay in memory, the writes since
// the last Sync never get to the disk, and the next Sync succeeds.
func (h *file) SyncFailed(error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.n.lose()
}

// StartSync does nothing: unsynced data may be on the disk or not.
func (h *file) StartSync(_, _ int64) {}

func (h *file) Allocate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.ready()
	if err == nil && !h.writable {
		err = syscall.EBADF
	}
	if err == nil {
		more := sectors(max(size, 0)) - h.n.extent()
		err = h.fs.begin(max(more, 0), "allocate %s %d", h.name, size)
	}
	if err != nil {
		return h.fs.pathError("allocate", h.name, err)
	}
	h.n.reserved = max(h.n.reserved, size)
	h.n.resize(max(h.n.size, size))
	h.n.note(0, nil, h.fs.clock())
	return nil
}

func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.ready()
	if !h.closed {
		h.closed = true
		h.n.handles--
		h.fs.release(h.n)
	}
	return h.fs.pathError("close", h.name, err)
}

func (h *file) Stat() (vfs.Info, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.ready(); err != nil {
		return vfs.Info{}, h.fs.pathError("stat", h.name, err)
	}
	return h.n.info(h.name), nil
}
