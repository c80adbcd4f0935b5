//go:build unix

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Modes of new files and directories, less the umask, as in the original.
const (
	fileMode = 0o640
	dirMode  = 0o777

	privateMode = 0o600 // of keys
)

// OS returns the directory root of the operating system. It need not exist.
func OS(root string) (FS, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved
	}
	return &osFS{root: abs, super: os.Geteuid() == 0, actAs: actAs, chownAt: chownAt}, nil
}

type osFS struct {
	root  string
	super bool // the process is root's

	// How root makes files for another user; other calls in tests only.
	actAs   func(o owner, call func() error) error
	chownAt func(dir int, name string, o owner) error

	mu    sync.Mutex
	locks []*osLock // that are held, in the order in which they were taken
	held  atomic.Pointer[heldBack]
}

func (f *osFS) Path(name string) string {
	if name == "." || name == "" {
		return f.root
	}
	if f.root == "/" {
		return "/" + name
	}
	return f.root + "/" + name
}

func (f *osFS) open(name string, flag int) (File, error) {
	file, err := os.OpenFile(f.Path(name), flag, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{File: file}, nil
}

func (f *osFS) Open(name string) (File, error)      { return f.open(name, os.O_RDONLY) }
func (f *osFS) OpenWrite(name string) (File, error) { return f.open(name, os.O_RDWR) }
func (f *osFS) Create(name string) (File, error) {
	file, err := f.create(f.Path(name), os.O_RDWR)
	if err != nil {
		return nil, err
	}
	return &osFile{File: file}, nil
}

// put does without an os.File: making one costs five system calls, which is more
// than all the rest.
func (f *osFS) put(name string, data []byte, o PutOptions) (created bool, err error) {
	path := f.Path(name)
	mode := uint32(fileMode)
	if o.Private {
		mode = privateMode
	}
	fd, err := f.createFD(path, unix.O_WRONLY, mode)
	if err != nil {
		return false, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	op := "write"
	for len(data) > 0 && err == nil {
		var n int
		if n, err = unix.Write(fd, data); errors.Is(err, unix.EINTR) {
			n, err = max(n, 0), nil
		}
		if err == nil {
			data = data[n:]
		}
	}
	if err == nil {
		if t := o.stamp(); !t.IsZero() {
			op, err = "set time of", setModTime(path, t)
		}
	}
	if err == nil && o.Sync {
		op = "fsync"
		err = retry(func() error { return fdDataSync(fd) })
	}
	if cerr := unix.Close(fd); err == nil && cerr != nil && !errors.Is(cerr, unix.EINTR) { // closed all the same then
		op, err = "close", cerr
	}
	if err != nil {
		return true, &fs.PathError{Op: op, Path: path, Err: err}
	}
	return true, nil
}

// ReadFile does without an os.File, too.
func (f *osFS) ReadFile(name string) ([]byte, error) {
	path := f.Path(name)
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd) // it was only read
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	b := make([]byte, 0, st.Size+1) // one more, to see the end
	for {
		n, err := unix.Read(fd, b[len(b):cap(b)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return b, nil
		default:
			b = b[:len(b)+n]
		}
		// The size of a file of /proc says nothing, and another one may grow.
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		} else if st.Size > 0 && int64(len(b)) == st.Size && st.Mode&unix.S_IFMT == unix.S_IFREG {
			return b, nil
		}
	}
}
func (f *osFS) Mkdir(name string) error { return f.mkdir(f.Path(name)) }
func (f *osFS) Remove(name string) error {
	if h := f.held.Load(); h != nil {
		return h.remove(f.Path(name))
	}
	return os.Remove(f.Path(name))
}
func (f *osFS) Rename(oldName, newName string) error {
	if h := f.held.Load(); h != nil {
		return h.rename(f.Path(oldName), f.Path(newName))
	}
	return os.Rename(f.Path(oldName), f.Path(newName))
}
func (f *osFS) Exchange(a, b string) error {
	err := exchange(f.Path(a), f.Path(b))
	if err != nil && !errors.Is(err, ErrNotSupported) {
		return &os.LinkError{Op: "exchange", Old: f.Path(a), New: f.Path(b), Err: err}
	}
	return err
}
func (f *osFS) Link(oldName, newName string) error { return os.Link(f.Path(oldName), f.Path(newName)) }

func (f *osFS) Stat(name string) (Info, error) {
	info, err := os.Lstat(f.Path(name))
	if err != nil {
		return Info{}, err
	}
	return describe(info), nil
}

func (f *osFS) identify(name string) (Identity, error) {
	path := f.Path(name)
	var st unix.Stat_t
	if err := retry(func() error { return unix.Lstat(path, &st) }); err != nil {
		return Identity{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return Identity{Ino: st.Ino, Changed: st.Ctim.Nano(), Born: born(path), Volume: volume(path)}, nil
}

func describe(info fs.FileInfo) Info {
	i := Info{Name: info.Name(), Size: info.Size(), Mode: info.Mode(), ModTime: info.ModTime(), Disk: -1}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		i.Dev, i.Ino, i.Links = uint64(st.Dev), st.Ino, uint64(st.Nlink)
		i.Disk = int64(st.Blocks) * 512
	}
	return i
}

// listChunk is how many entries of a directory are in memory at a time.
const listChunk = 512

func (f *osFS) List(dir string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		d, err := os.Open(f.Path(dir))
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer d.Close()
		for {
			entries, err := d.ReadDir(listChunk)
			for _, e := range entries {
				if !yield(Entry{Name: e.Name(), Type: e.Type()}, nil) {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
		}
	}
}

func (f *osFS) SetModTime(name string, t time.Time) error {
	if err := setModTime(f.Path(name), t); err != nil {
		return &fs.PathError{Op: "set time of", Path: f.Path(name), Err: err}
	}
	return nil
}

func setModTime(path string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return retry(func() error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (f *osFS) SetReadOnly(name string) error {
	err := retry(func() error {
		fd, err := unix.Open(f.Path(name), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if !f.ours(st.Uid, f.Path(name)) {
			return unix.EPERM
		}
		return unix.Fchmod(fd, uint32(st.Mode)&0o555)
	})
	if err != nil {
		return &fs.PathError{Op: "make read-only", Path: f.Path(name), Err: err}
	}
	return nil
}

func (f *osFS) Space() (Space, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(f.root, &st) }); err != nil {
		return Space{}, &fs.PathError{Op: "ask space of", Path: f.root, Err: err}
	}
	block := uint64(st.Bsize)
	return Space{
		FreeBytes: uint64(st.Bavail) * block, TotalBytes: st.Blocks * block,
		FreeInodes: uint64(st.Ffree), TotalInodes: st.Files,
	}, nil
}

type osFile struct{ *os.File }

func (f *osFile) Sync() error {
	if err := dataSync(f.File); err != nil {
		return &fs.PathError{Op: "fsync", Path: f.Name(), Err: err}
	}
	return nil
}

// SyncTimes is fsync(2), which os.File means by Sync.
func (f *osFile) SyncTimes() error { return f.File.Sync() }

// StartSync leaves errors to Sync, which is told them too.
func (f *osFile) StartSync(offset, length int64) { startSync(f.File, offset, length) }

func (f *osFile) Allocate(size int64) error {
	if err := allocate(f.File, size); err != nil {
		return &fs.PathError{Op: "allocate", Path: f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Stat() (Info, error) {
	info, err := f.File.Stat()
	if err != nil {
		return Info{}, err
	}
	return describe(info), nil
}

// withFD makes a system call on a file that stays open meanwhile, and repeats
// it if a signal interrupted it; fs.ErrClosed if the file is closed.
func withFD(f *os.File, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	if raw.Control(func(fd uintptr) { callErr = retry(func() error { return call(int(fd)) }) }) != nil {
		return fs.ErrClosed // the only reason why Control does not call
	}
	return callErr
}

// retry repeats a call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// grow makes a file at least that long, without reserving space.
func grow(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil || info.Size() >= size {
		return err
	}
	return f.Truncate(size)
}
