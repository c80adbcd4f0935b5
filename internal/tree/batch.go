package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Batch puts a number of files into one side. Nothing is durable before Sync
// returned nil; until then the caller keeps what it needs to do it all again.
// Every method may be repeated after an error or a crash. Create and Adopt
// may be called concurrently, for different names; Replace by one goroutine for
// each lane; Sync when all of them have returned.
type Batch struct {
	t       *Tree
	side    Side
	syncAll bool // one syncfs at the end instead of an fsync of each file
	lane    int  // see Lane

	*batchNames // shared by all lanes
}

// batchNames is what a Batch has to make durable.
type batchNames struct {
	mu    sync.Mutex
	dirs  map[string]struct{}
	last  string   // the directory that was added last
	later []string // files that SyncAll has to make durable
}

// MaxLanes is how many goroutines can put files at a time.
const MaxLanes = 4

// Lane returns the batch for another goroutine, i of 0..MaxLanes-1, which writes
// aside under a name of its own.
func (b *Batch) Lane(i int) *Batch {
	lane := *b
	lane.lane = i
	return &lane
}

func (b *Batch) aside() string {
	if b.lane == 0 {
		return asideFile
	}
	return fmt.Sprintf("%s-%d", asideFile, b.lane)
}

// NewBatch starts a batch of about files files.
func (t *Tree) NewBatch(side Side, files int) *Batch {
	if side == B {
		t.UseB()
	}
	return &Batch{
		t: t, side: side,
		syncAll:    t.o.Sync && t.o.DirSync && files >= t.o.SyncAllFrom,
		batchNames: &batchNames{dirs: make(map[string]struct{})},
	}
}

// Create puts a file under a name that is new. If an interrupted flush left
// something under that name, it is replaced by rename.
func (b *Batch) Create(n layout.Name, data []byte) error {
	begun := b.t.o.Clock()
	name := b.t.Path(b.side, n)
	created, err := vfs.Put(b.t.fs, name, data, b.syncFiles())
	if !created && errors.Is(err, fs.ErrNotExist) {
		if err = b.mkdirs(path.Dir(name)); err == nil {
			created, err = vfs.Put(b.t.fs, name, data, b.syncFiles())
		}
	}
	if !created && errors.Is(err, fs.ErrExist) {
		return b.Replace(n, data)
	}
	if !created {
		return err
	}
	if err == nil {
		err = b.t.stamp(name, begun)
	}
	if err != nil {
		// On a full disk the space is worth having back. The batch will be flushed again.
		return errors.Join(err, b.t.fs.Remove(name))
	}
	b.put(name)
	return nil
}

// Replace puts a file under a name that may exist: written aside, then renamed.
// What an interrupted batch left of it is replaced when the batch is done again.
// But the x files are read before that, so one of them never gets its name before
// its content is durable.
func (b *Batch) Replace(n layout.Name, data []byte) error {
	begun := b.t.o.Clock()
	name := b.t.Path(b.side, n)
	mark := n == layout.XOID || n == layout.XSerial || n == layout.XPacked
	put := func() error {
		return vfs.WriteFileAtomic(b.t.fs, b.aside(), name, data, vfs.SyncOptions{File: b.syncFiles() || mark && b.t.o.Sync})
	}
	err := put()
	if errors.Is(err, fs.ErrNotExist) {
		if err = b.mkdirs(path.Dir(name)); err == nil {
			err = put()
		}
	}
	if err == nil {
		err = b.t.stamp(name, begun)
	}
	if err != nil {
		return err
	}
	b.put(name)
	return nil
}

// Adopt moves a file that lies in journal/, whole and durable, under its name
// here. If the file is not there any more, an earlier, interrupted flush moved
// it: then the name must exist with that size, on this side or, if that flush
// went there or a recombination has moved it on, on the other.
func (b *Batch) Adopt(n layout.Name, staged string, size int64) error {
	name := b.t.Path(b.side, n)
	if err := b.mkdirs(path.Dir(name)); err != nil {
		return err
	}
	// Stamped before the move: in A the file may already be part of a snapshot.
	err := b.t.fs.SetModTime(staged, b.t.o.Clock())
	if err == nil {
		err = b.t.stamp(staged, b.t.o.Clock())
	}
	if err == nil {
		err = b.t.fs.Rename(staged, name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		info, where, statErr := b.t.Stat(n)
		if statErr != nil || info.Size != size {
			return fmt.Errorf("the blob %s is lost: neither %s nor %s holds it: %w", n, staged, where, errors.Join(err, statErr))
		}
		name, err = where, nil
	}
	if err != nil {
		return err
	}
	b.put(name)
	b.touched(path.Dir(staged))
	return nil
}

// touched notes a directory whose names have to become durable.
func (b *Batch) touched(dir string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if dir != b.last {
		b.dirs[dir], b.last = struct{}{}, dir
	}
}

func (b *Batch) mkdirs(dir string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.t.mkdirs(dir, b.dirs)
}

// Sync makes all that was put so far durable, contents and names.
func (b *Batch) Sync() error {
	if !b.t.o.Sync {
		return nil
	}
	if b.syncAll {
		err := b.t.fs.SyncAll()
		if err == nil {
			clear(b.dirs)
			b.last = ""
			b.later = b.later[:0]
			return nil
		}
		if !errors.Is(err, vfs.ErrNotSupported) {
			return err
		}
		for _, name := range b.later {
			if err := b.syncFile(name); err != nil {
				return err
			}
		}
		b.later = b.later[:0]
	}
	if err := b.t.syncDirs(b.dirs); err != nil {
		return err
	}
	clear(b.dirs)
	b.last = ""
	return nil
}

func (b *Batch) syncFile(name string) error {
	f, err := b.t.fs.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// put notes a name that has to become durable.
func (b *Batch) put(name string) {
	b.touched(name[:strings.LastIndexByte(name, '/')])
	if b.syncAll {
		b.mu.Lock()
		b.later = append(b.later, name)
		b.mu.Unlock()
	}
}

// syncFiles reports whether each file has to be synced when it is written.
func (b *Batch) syncFiles() bool { return b.t.o.Sync && !b.syncAll }
