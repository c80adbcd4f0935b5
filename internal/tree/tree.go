package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Side names one of the two database directories.
type Side string

// The two sides. B is in use only during and after a snapshot.
const (
	A Side = "A"
	B Side = "B"
)

// floorFile keeps the floor of time stamps over a restart: decimal nanoseconds
// since the epoch.
const floorFile = "misc/floor"

// Where files are written before they are renamed into A or B, or to floorFile.
const (
	asideFile      = "journal/aside-tree"
	asideFloorFile = "journal/aside-floor"
)

// stampSlack is more than the kernel's clock for time stamps can lag behind
// the precise one.
const stampSlack = 50 * time.Millisecond

// Options for New. FS, Format and Clock are mandatory.
type Options struct {
	FS     vfs.FS
	Format layout.Format
	// Sync is false where the administrator does without fsync altogether, DirSync
	// where directories can't be synced (both as in config/settings).
	Sync, DirSync bool
	// SyncAllFrom is the number of files from which a batch is made durable by one
	// syncfs rather than by an fsync of each file and directory. 0 = 24.
	SyncAllFrom int
	Clock       func() time.Time
}

// Tree is the pair of directories A and B.
type Tree struct {
	o     Options
	fs    vfs.FS
	readB atomic.Bool  // B may hold files
	floor atomic.Int64 // nanoseconds; 0 = no snapshot was ever asked for
	// newest is the latest time stamp of a file in A or B; one goroutine puts
	// files, another raises the floor.
	newest atomic.Int64
}

// New returns the tree of a HOME. It reads the floor of time stamps; B is
// taken to be in use until [Tree.Recombine] found it empty.
func New(o Options) (*Tree, error) {
	if o.SyncAllFrom == 0 {
		o.SyncAllFrom = 24
	}
	t := &Tree{o: o, fs: o.FS}
	t.readB.Store(true)
	switch b, err := o.FS.ReadFile(floorFile); {
	case err == nil:
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s does not hold a number of nanoseconds (%q); remove it, and make the next backup by time stamp a full one", floorFile, b)
		}
		t.floor.Store(n)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	// x.serial is the last file of each flush, so none is newer.
	for _, side := range []Side{A, B} {
		info, err := o.FS.Stat(t.Path(side, layout.XSerial))
		if err == nil {
			t.sawTime(info.ModTime.UnixNano())
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return t, nil
}

// Format returns the format of both sides.
func (t *Tree) Format() layout.Format { return t.o.Format }

// Path returns the name relative to HOME of a database name on one side.
func (t *Tree) Path(side Side, n layout.Name) string {
	return string(side) + "/" + t.o.Format.Path(n)
}

// ReadsB reports whether B may hold files.
func (t *Tree) ReadsB() bool { return t.readB.Load() }

// UseB makes readers look at B before A. It must be called before the first
// file of a batch goes there.
func (t *Tree) UseB() { t.readB.Store(true) }

// Get returns the content of a file, from B or else from A, and its path
// relative to HOME. An error that is fs.ErrNotExist means that neither has it;
// the path is then the one in A.
func (t *Tree) Get(n layout.Name) (data []byte, where string, err error) {
	if t.readB.Load() {
		where = t.Path(B, n)
		if data, err = t.fs.ReadFile(where); !errors.Is(err, fs.ErrNotExist) {
			return data, where, err
		}
	}
	where = t.Path(A, n)
	data, err = t.fs.ReadFile(where)
	return data, where, err
}

// Open opens a file, in B or else in A. See Get.
func (t *Tree) Open(n layout.Name) (f vfs.File, where string, err error) {
	if t.readB.Load() {
		where = t.Path(B, n)
		if f, err = t.fs.Open(where); !errors.Is(err, fs.ErrNotExist) {
			return f, where, err
		}
	}
	where = t.Path(A, n)
	f, err = t.fs.Open(where)
	return f, where, err
}

// Stat describes a file in B or else in A. See Get.
func (t *Tree) Stat(n layout.Name) (info vfs.Info, where string, err error) {
	if t.readB.Load() {
		where = t.Path(B, n)
		if info, err = t.fs.Stat(where); !errors.Is(err, fs.ErrNotExist) {
			return info, where, err
		}
	}
	where = t.Path(A, n)
	info, err = t.fs.Stat(where)
	return info, where, err
}

// floorStep is what the floor is a multiple of. rsync takes two files of the same
// size for equal if their times are in the same second, and a pointer is always
// of the same size: so what comes after a snapshot has to be in another second
// than all that was there before.
const floorStep = int64(time.Second)

// RaiseFloor makes every file that is put into A or B from now on bear a time
// stamp of a later second than now, and than all that were put before, whatever
// the clock does. So such a time may lie some seconds in the future: one for
// each snapshot that was entered within a second. It is durable when it
// returns. It is called when a snapshot is asked for, before anything else is
// done for it, and again when all of it is in A.
func (t *Tree) RaiseFloor() error {
	latest := max(t.o.Clock().UnixNano(), t.newest.Load())
	if t.floor.Load() > latest {
		return nil // nothing was put here since it was raised
	}
	floor := (latest/floorStep + 1) * floorStep
	write := func() error {
		data := strconv.AppendInt(nil, floor, 10)
		err := vfs.WriteFileAtomic(t.fs, asideFloorFile, floorFile, append(data, '\n'), vfs.SyncOptions{File: t.o.Sync, Dir: t.o.DirSync})
		if err != nil {
			return err
		}
		return t.fs.SetModTime(floorFile, time.Unix(0, floor))
	}
	if err := write(); err != nil {
		return fmt.Errorf("keep the time of the snapshot: %w", err)
	}
	// A file system that keeps whole seconds would round the stamps down, to before
	// the floor: then the floor itself is rounded up, to what every file system keeps.
	info, err := t.fs.Stat(floorFile)
	if err != nil {
		return fmt.Errorf("keep the time of the snapshot: %w", err)
	}
	if info.ModTime.UnixNano() < floor {
		const coarsest = int64(2 * time.Second)
		floor = (floor + coarsest - 1) / coarsest * coarsest
		if err := write(); err != nil {
			return fmt.Errorf("keep the time of the snapshot: %w", err)
		}
	}
	t.floor.Store(floor)
	return nil
}

// stamp gives a file that was just written the floor as its time, if the clock
// may have been behind it at or since the moment begun.
func (t *Tree) stamp(name string, begun time.Time) error {
	now := t.o.Clock()
	latest, floor := max(begun.UnixNano(), now.UnixNano()), t.floor.Load()
	if floor == 0 || min(begun.UnixNano(), now.UnixNano())-int64(stampSlack) > floor {
		t.sawTime(latest)
		return nil
	}
	t.sawTime(max(latest, floor))
	return t.fs.SetModTime(name, time.Unix(0, max(now.UnixNano(), floor)))
}

// sawTime notes the time stamp of a file in A or B.
func (t *Tree) sawTime(ns int64) {
	for old := t.newest.Load(); ns > old; old = t.newest.Load() {
		if t.newest.CompareAndSwap(old, ns) {
			return
		}
	}
}

// mkdirs makes a directory and what is missing above it, and notes those whose
// entries have to be made durable.
func (t *Tree) mkdirs(dir string, touched map[string]struct{}) error {
	made, err := vfs.MkdirAll(t.fs, dir)
	for _, d := range made {
		touched[path.Dir(d)] = struct{}{}
	}
	return err
}

// syncDirs makes the names in directories durable; a directory that is gone
// is passed over, because its removal is a name in the one above it.
func (t *Tree) syncDirs(dirs map[string]struct{}) error {
	if !t.o.Sync || !t.o.DirSync {
		return nil
	}
	for d := range dirs {
		if err := t.fs.SyncDir(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
