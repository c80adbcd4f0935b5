package vfs

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"time"
)

// FS is one directory tree, HOME, seen through the only door that the project
// has to the disk. Names are slash-separated and relative to its root; "." is
// the root itself. All methods may be called concurrently. Errors are
// *fs.PathError or *os.LinkError with the name as Path gives it, wrapping the
// cause, so that errors.Is(err, fs.ErrNotExist) and errors.Is(err, syscall.ENOSPC) work.
type FS interface {
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	// OpenWrite opens an existing file for reading and writing. Only the journal
	// and lock files are ever written in place.
	OpenWrite(name string) (File, error)
	// Create makes a file that must not exist, for reading and writing, mode
	// 0640 less the umask.
	Create(name string) (File, error)
	// ReadFile returns the whole content.
	ReadFile(name string) ([]byte, error)
	// Mkdir makes one directory, mode 0777 less the umask; fs.ErrExist if there is one.
	Mkdir(name string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Rename moves oldName to newName and replaces it atomically. newName must not
	// be a directory.
	Rename(oldName, newName string) error
	// Exchange swaps two names of one directory atomically; ErrNotSupported where
	// the platform or the file system can't. Both must exist.
	Exchange(a, b string) error
	// Link gives a file a second name, which must not exist.
	Link(oldName, newName string) error
	// Stat describes a file or directory, without following a symbolic link.
	Stat(name string) (Info, error)
	// List yields the entries of a directory in no order, without holding them
	// all in memory. It stops after the first error.
	List(dir string) iter.Seq2[Entry, error]
	// SetModTime sets the time stamp of last modification (and of access).
	SetModTime(name string, t time.Time) error
	// SetReadOnly takes away the permission to write from everybody; that to read
	// stays as it is. fs.ErrPermission, and nothing changed, if the file belongs to another user,
	// since that user could give the permission back. The mode of a file is not made durable by
	// itself. A symbolic link is an error.
	SetReadOnly(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// SyncAll makes everything that was written to this file system durable,
	// names and contents; ErrNotSupported where the platform can't promise that.
	SyncAll() error
	// Lock takes flock(2) LOCK_EX on the file without waiting, makes the file if it
	// does not exist, and writes “ PID\n” into it. If somebody else holds it, the
	// error is a *LockedError.
	Lock(name string) (Lock, error)
	// LockDir is Lock for a directory that exists: nothing is made or written, and the error does
	// not know the holder. The lock stays with the directory when it gets another name.
	// ErrNotSupported where only files that can be written to are locked, as on NFS.
	LockDir(name string) (Lock, error)
	// Space reports the free space of the file system.
	Space() (Space, error)
	// Path returns the name as the operating system knows it, for sockets and messages.
	Path(name string) string
}

// File is an open file. Reads and writes at offsets may be concurrent.
type File interface {
	io.Reader
	io.Writer
	io.Seeker
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes contents and size durable (fdatasync), not the name.
	Sync() error
	// SyncTimes is Sync, and makes the time of modification durable, too (fsync).
	SyncTimes() error
	// StartSync asks that a part of the contents be written to the disk soon, so
	// that a later Sync has less to wait for. It promises nothing, and where it is not possible
	// it does nothing.
	StartSync(offset, length int64)
	// Allocate makes the file at least size bytes long and reserves the space, so
	// that writes below size do not run out of disk where the file system keeps
	// that promise.
	Allocate(size int64) error
	Stat() (Info, error)
}

// Lock is a held lock file.
type Lock interface {
	// Check returns an error if the name no longer leads to the file that is
	// locked (it was removed or replaced), so that the lock excludes nobody.
	Check() error
	// Close releases the lock; the file stays.
	Close() error
}

// Info describes a file.
type Info struct {
	Name    string // last element
	Size    int64
	Mode    fs.FileMode
	ModTime time.Time
	Dev     uint64
	Ino     uint64
	Links   uint64
	Disk    int64 // bytes that it takes up on the disk; -1 = not known
}

// IsDir reports whether it is a directory.
func (i Info) IsDir() bool { return i.Mode.IsDir() }

// Entry is one name in a directory. Type holds the type bits only.
type Entry struct {
	Name string
	Type fs.FileMode
}

// IsDir reports whether it is a directory.
func (e Entry) IsDir() bool { return e.Type.IsDir() }

// Space is the room left on a file system. Inodes is 0 where it has no limit.
type Space struct {
	FreeBytes   uint64 `json:"free_bytes"`
	TotalBytes  uint64 `json:"total_bytes"`
	FreeInodes  uint64 `json:"free_inodes"`
	TotalInodes uint64 `json:"total_inodes"`
}

// ErrNotSupported is returned where a platform lacks an operation.
var ErrNotSupported = errors.New("not supported")

// ErrLocked is matched by every *LockedError.
var ErrLocked = errors.New("locked by another process")

// LockedError names the holder of a lock, as far as the lock file says.
type LockedError struct {
	Name string
	PID  int // 0 = unknown
}
