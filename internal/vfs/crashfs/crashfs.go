package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// ErrCrashed is the cause of every error after the crash that CrashAt asked for.
var ErrCrashed = errors.New("the power is off")

// rootIno is the inode of the root of every FS.
const rootIno = 2

// FS is a file system in memory. All methods may be called concurrently.
type FS struct {
	seed  int64
	clock func() time.Time // called with mu held

	mu      sync.Mutex // guards all below, and all nodes and open files
	limit   int64      // space in bytes; 0 = none
	used    int64
	nodes   map[uint64]*node
	lastIno uint64
	pending []*nameOp // in the order in which they were done
	lastOf  map[place]*nameOp
	locks   map[uint64]*lock // by inode
	log     []string
	crashAt int
	before  func(op string) bool // see CrashBefore; nil: never
	crashed bool
}

var _ vfs.FS = (*FS)(nil)

// New returns a file system that has an empty root, durably, and no limit of
// space. Its clock starts at 2026-01-01 and goes on by a millisecond each
// time it is looked at. The seed decides the order in which List yields names.
func New(seed int64) *FS {
	var ticks atomic.Int64
	epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f := empty(seed, func() time.Time { return epoch.Add(time.Duration(ticks.Add(1)) * time.Millisecond) })
	f.nodes[rootIno] = newDir(rootIno, 0, f.clock())
	return f
}

func empty(seed int64, clock func() time.Time) *FS {
	return &FS{
		seed: seed, clock: clock, lastIno: rootIno,
		nodes: make(map[uint64]*node), lastOf: make(map[place]*nameOp), locks: make(map[uint64]*lock),
	}
}

// SetClock sets where times of modification come from. The clock must not call
// the file system.
func (f *FS) SetClock(clock func() time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock = clock
}

// SetSpace sets the size of the disk in bytes, including the bytes in use already; 0 is no limit.
// Contents take whole sectors of 512 bytes, holes too, and each file or directory takes one more.
func (f *FS) SetSpace(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = bytes
}

// Used returns how many bytes of the disk are in use.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// Ops returns how many operations that change or sync something were done.
// One that failed does not count, nor does a look at something.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.log)
}

// Log returns those operations, the one that CrashAt(n) prevents at index n-1,
// in the form
//
//	create NAME             mkdir NAME         remove NAME
//	write NAME OFFSET SIZE  rename OLD NEW     link OLD NEW
//	allocate NAME SIZE      touch NAME         chmod NAME
//	lock NAME
//	sync NAME               syncdir NAME       syncall
//
// with the name under which a file was opened, and decimal numbers.
func (f *FS) Log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

// CrashAt cuts the power before the n-th operation as Ops counts, from 1 for
// the first one ever. It is not done, and it and everything after it fails
// with ErrCrashed, reads too. If n operations were done already, the power is
// cut now. 0 lets the file system live; a crash is not undone.
func (f *FS) CrashAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt = n
	if n > 0 && len(f.log) >= n {
		f.crashed = true
	}
}

// CrashBefore cuts the power before the first operation for which is returns true, as CrashAt does. It is called
// with each in the form of Log, one at a time, and must not call the file system.
func (f *FS) CrashBefore(is func(op string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = is
}

// alive returns ErrCrashed after the crash. mu is held.
func (f *FS) alive() error {
	if f.crashed {
		return ErrCrashed
	}
	return nil
}

// step counts an operation that is about to be done, unless the crash comes
// first. mu is held.
func (f *FS) step(format string, args ...any) error {
	if f.crashAt > 0 && len(f.log)+1 >= f.crashAt {
		f.crashed = true
	}
	if f.crashed {
		return ErrCrashed
	}
	op := fmt.Sprintf(format, args...)
	if f.before != nil && f.before(op) {
		f.crashed = true
		return ErrCrashed
	}
	f.log = append(f.log, op)
	return nil
}

// take uses up space. mu is held.
func (f *FS) take(bytes int64) error {
	if f.limit > 0 && bytes > 0 && f.used+bytes > f.limit {
		return syscall.ENOSPC
	}
	f.used += bytes
	return nil
}

// release gives the space of a file back that has no name and is not open. mu is held.
func (f *FS) release(n *node) {
	if n.links == 0 && n.handles == 0 {
		f.used -= n.space()
		f.forget(n)
	}
}

// find returns the node that a name leads to. mu is held.
func (f *FS) find(name string) (*node, error) {
	n := f.nodes[rootIno]
	if name == "" || name == "." {
		return n, nil
	}
	if !fs.ValidPath(name) {
		return nil, syscall.EINVAL
	}
	for part := range strings.SplitSeq(name, "/") {
		if !n.isDir() {
			return nil, syscall.ENOTDIR
		}
		ino, ok := n.names[part]
		if !ok {
			return nil, syscall.ENOENT
		}
		n = f.nodes[ino]
	}
	return n, nil
}

// findFile is find for a node that must not be a directory. mu is held.
func (f *FS) findFile(name string) (*node, error) {
	n, err := f.find(name)
	if err == nil && n.isDir() {
		err = syscall.EISDIR
	}
	return n, err
}

// findDir is find for a node that must be a directory. mu is held.
func (f *FS) findDir(name string) (*node, error) {
	n, err := f.find(name)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	return n, err
}

// findPlace returns where a name is or would be, and its node, or nil. mu is
// held.
func (f *FS) findPlace(name string) (place, *node, error) {
	if name == "" || name == "." || !fs.ValidPath(name) {
		return place{}, nil, syscall.EINVAL
	}
	dir, err := f.findDir(path.Dir(name))
	if err != nil {
		return place{}, nil, err
	}
	p := place{dir.ino, path.Base(name)}
	if ino, ok := dir.names[p.name]; ok {
		return p, f.nodes[ino], nil
	}
	return p, nil, nil
}

// findFree is findPlace for a name that must not exist. mu is held.
func (f *FS) findFree(name string) (place, error) {
	p, n, err := f.findPlace(name)
	if err == nil && n != nil {
		err = syscall.EEXIST
	}
	return p, err
}

// Path returns a made-up absolute name.
func (f *FS) Path(name string) string { return path.Join("/crashfs", name) }

func (f *FS) pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.Path(name), Err: err}
}

func (f *FS) linkError(op, oldName, newName string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: f.Path(oldName), New: f.Path(newName), Err: err}
}
