package classic

import (
	"errors"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Where files are written before they are renamed into A or B, or to floorFile.
const (
	asideFile      = "journal/aside-tree"
	asideFloorFile = "journal/aside-floor"
)

// Options for New. FS, Format and Clock are mandatory.
type Options struct {
	FS     vfs.FS
	Format layout.Format
	// Sync is false where the administrator does without fsync altogether, DirSync
	// where directories can't be synced (both as in config/settings).
	Sync, DirSync bool
	// SyncAllFrom is the number of files and changes of names from which they are made durable by one
	// syncfs rather than by an fsync of each file and directory. 0 = 24.
	SyncAllFrom int
	// Minimal is class Minimal: one file for each object.
	Minimal bool
	// CheckSums says that checksums are compared where a record is read for its serial.
	CheckSums bool
	// Beside is for a reader beside another process that may write.
	Beside bool
	// Still is for a reader of A alone, which stands still: a copy of it may have no B, and
	// no floor of time stamps is looked for.
	Still bool
	// Lanes is the number of goroutines of a Put of LanesFrom files or more. Defaults if 0:
	// half of the processors, at most MaxLanes (the others are left to commits and reads); and
	// 200.
	Lanes, LanesFrom int
	// PartLen is how many revisions of a transaction one of them puts at a time. 0 = 250.
	PartLen int
	// SyncEvery is the number of files after which a Put syncs the files put so far. 0 =
	// 4000.
	SyncEvery int
	Clock     func() time.Time
}

var (
	_ store.Store    = (*Store)(nil)
	_ store.Original = (*Store)(nil)
)

// Store is the pair of directories A and B.
type Store struct {
	o     Options
	fs    vfs.FS
	readB atomic.Bool  // B may hold files
	floor atomic.Int64 // nanoseconds; 0 = no snapshot was ever asked for
	// newest is the latest time stamp of a file in A or B; one goroutine puts
	// files, another raises the floor.
	newest atomic.Int64
	// raising is held while misc/floor is written, or its time is set, which is noted.
	raising sync.Mutex
	noted   int64 // guarded by raising
	// floorLost: the content of misc/floor could not be understood, see findFloor.
	floorLost bool
	debts     *debts
}

// New returns the tree of a HOME. It reads the floor of time stamps; B is
// taken to be in use until [Store.Thaw] found it empty. A writer gets a *vfs.SpreadError for a
// HOME that is spread over several mounts.
func New(o Options) (*Store, error) {
	if !o.Beside && !o.Still {
		if err := vfs.OnOneMount(o.FS, directories()...); err != nil {
			return nil, err
		}
	}
	if o.SyncAllFrom == 0 {
		o.SyncAllFrom = 24
	}
	if o.Lanes == 0 {
		o.Lanes = min(max(1, runtime.GOMAXPROCS(0)/2), MaxLanes)
	}
	if o.LanesFrom == 0 {
		o.LanesFrom = lanesFrom
	}
	if o.PartLen == 0 {
		o.PartLen = partLen
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = syncEvery
	}
	t := &Store{o: o, fs: o.FS, debts: newDebts()}
	if o.Still {
		return t, nil
	}
	t.readB.Store(true)
	lost, err := t.readFloor()
	if err != nil {
		return nil, err
	}
	// x.serial is the last file of each flush, and x.packed that of each pack, so of these
	// none is newer.
	for _, side := range []store.Side{store.A, store.B} {
		for _, n := range []layout.Name{layout.XOID, layout.XSerial, layout.XPacked} {
			info, err := o.FS.Stat(t.Path(side, n))
			if err == nil {
				t.sawTime(info.ModTime.UnixNano())
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	if lost {
		t.findFloor()
	}
	return t, nil
}

// Format returns the format of both sides.
func (t *Store) Format() layout.Format { return t.o.Format }

// Path returns the name relative to HOME of a database name on one side.
func (t *Store) Path(side store.Side, n layout.Name) string {
	return string(side) + "/" + t.o.Format.Path(n)
}

// ReadsB reports whether B may hold files.
func (t *Store) ReadsB() bool { return t.readB.Load() }

// UseB makes readers look at B before A. It must be called before the first
// file of a batch goes there.
func (t *Store) UseB() { t.readB.Store(true) }

// mkdirs makes a directory and the missing ones above it.
func (t *Store) mkdirs(dir string) error {
	made, err := vfs.MkdirAll(t.fs, dir)
	for _, d := range made {
		t.debts.name(path.Dir(d))
	}
	if err != nil {
		for d := dir; d != "."; d = path.Dir(d) {
			t.mayHaveChanged(d)
		}
	}
	return err
}

// mayHaveChanged notes names that an operation was about that failed. It may have been
// done all the same; then a repetition finds it done, and nothing else would sync it.
func (t *Store) mayHaveChanged(names ...string) {
	for _, name := range names {
		t.debts.name(path.Dir(name))
	}
}

// rename gives a file another name, in a directory that may be missing.
func (t *Store) rename(from, to string) error {
	err := t.fs.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err = t.mkdirs(dirOf(to)); err == nil {
			err = t.fs.Rename(from, to)
		}
	}
	if err != nil {
		t.mayHaveChanged(from, to)
	}
	return err
}

// renameAside is rename for a file that means nothing without its name.
func (t *Store) renameAside(aside, to string) error {
	if err := t.rename(aside, to); err != nil {
		return errors.Join(err, t.fs.Remove(aside))
	}
	return nil
}

// directories are those between which files are moved, and which one sync has to reach.
func directories() []string { return []string{string(store.A), string(store.B), "journal", "misc"} }

// IsDirectory reports whether a name in HOME is that of a directory with files of the database.
func IsDirectory(name string) bool { return slices.Contains(directories(), name) }
