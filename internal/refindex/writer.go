package refindex

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Names in the directory that New is told.
const (
	FileName  = "refs"
	asideName = "refs.new" // becomes FileName
	tempName  = "refs.tmp" // lock file, and behind that the sorted runs
)

const (
	pairSize   = 16      // bytes of a pair in memory
	minRun     = 64      // pairs
	firstPairs = 2048    // pairs that the first buffer holds at first
	runsFrom   = 64      // offset in the temporary file; before it is the text of a lock file
	runRead    = 4 << 10 // bytes, the least with which a run is read
	buffered   = 64 << 10
)

// Stats are the numbers of an index.
type Stats struct {
	References int64 `json:"references"` // without repetitions
	Targets    int64 `json:"targets"`    // objects that something refers to
	Skipped    int64 `json:"skipped"`    // objects whose references could not be seen
	Damaged    int64 `json:"damaged"`    // those of them that are damaged; the others are no pickles
	Bytes      int64 `json:"bytes"`      // of the file
}

// Writer writes an index. It ends with Finish or Abort.
type Writer struct {
	fs     vfs.FS
	dir    string
	tid    zodb.TID
	memory int // bytes
	perRun int // pairs

	lock    vfs.Lock
	temp    vfs.File // the lock file
	skipped atomic.Int64
	damaged atomic.Int64 // of those

	mu    sync.Mutex
	buf   []pair // guarded by mu
	err   error  // guarded by mu; why nothing can be added
	ended bool   // guarded by mu

	// spare holds the other buffer, unless it is being sorted: the goroutine that took it out owns
	// runs and end meanwhile. It is taken with mu held, never the other way round.
	spare chan []pair
	runs  []run
	end   int64 // of the temporary file
}

// run is a sorted part of the added pairs, in the temporary file.
type run struct {
	offset, length int64
	pairs          int64
	sum            uint32 // CRC32C
}

// New begins an index that will be the file refs in a directory, which must
// exist. Tid is the last transaction at a moment before the first revision was
// read. If there is another writer, the error matches vfs.ErrLocked.
//
// The writer takes memoryBytes, half for added pairs and half for those being sorted meanwhile; a
// run has half of it. Beyond that it takes less than 250 kB, 16 bytes for each 16 kB of the index
// and, once there are more than memoryBytes / 8 kB runs, 4 kB for each further one. (64 MiB are
// enough for 17,000 million references.) On the disk the runs take about as much as the index will,
// until the end.
func New(fsys vfs.FS, dir string, tid zodb.TID, memoryBytes int) (*Writer, error) {
	w := &Writer{fs: fsys, dir: dir, tid: tid, memory: memoryBytes, perRun: max(minRun, memoryBytes/2/pairSize), spare: make(chan []pair, 1)}
	w.spare <- nil
	if err := w.takeTemp(); err != nil {
		return nil, fmt.Errorf("begin an index of references: %w", err)
	}
	return w, nil
}

// takeTemp locks the temporary file, which empties it, and opens it.
func (w *Writer) takeTemp() (err error) {
	name := path.Join(w.dir, tempName)
	for range 10 {
		if w.lock, err = w.fs.Lock(name); err != nil {
			return err
		}
		if err = w.lock.Check(); err == nil {
			break
		}
		// The writer before removed it between our opening and locking it.
		err = errors.Join(err, w.lock.Close())
	}
	if err != nil {
		return err
	}
	if w.temp, err = w.fs.OpenWrite(name); err != nil {
		return errors.Join(err, w.fs.Remove(name), w.lock.Close())
	}
	// Blank lines up to the runs, so that a process that finds it locked can read our process id.
	info, err := w.temp.Stat()
	if err == nil && info.Size < runsFrom {
		_, err = w.temp.WriteAt(bytes.Repeat([]byte("\n"), int(runsFrom-info.Size)), info.Size)
	}
	if err != nil {
		return errors.Join(err, w.removeTemp())
	}
	w.end = runsFrom
	return nil
}

// removeTemp gives up the temporary file and the lock.
func (w *Writer) removeTemp() error {
	// The lock must be held until the name is gone.
	err := w.fs.Remove(path.Join(w.dir, tempName))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, w.temp.Close(), w.lock.Close())
}

var errEnded = errors.New("the index of references is finished or aborted")

// Add adds a reference. References may come in any order and more than once. It
// may be called concurrently. After an error, which is that of a temporary file
// and comes again from each call, the writer can only be aborted.
func (w *Writer) Add(from, to zodb.OID) error {
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		return w.err
	}
	if len(w.buf) == cap(w.buf) {
		w.buf = w.grown(w.buf)
	}
	w.buf = append(w.buf, pair{to: to, from: from})
	if len(w.buf) < w.perRun {
		w.mu.Unlock()
		return nil
	}
	full := w.buf
	// If the run before is still being written, all wait here for it.
	w.buf = <-w.spare
	w.mu.Unlock()
	err := w.writeRun(full)
	w.spare <- full[:0]
	if err == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = fmt.Errorf("sort references: %w", err)
	}
	return w.err
}

// grown returns a full buffer with more room: firstPairs at first, because most storages are small,
// and then a whole run.
func (w *Writer) grown(buf []pair) []pair {
	room := w.perRun
	if cap(buf) == 0 {
		room = min(room, firstPairs)
	}
	return append(make([]pair, 0, room), buf...)
}

// Skip counts an object whose references could not be seen: a record that is
// damaged, or no pickle. It may be called concurrently.
func (w *Writer) Skip(damaged bool) {
	w.skipped.Add(1)
	if damaged {
		w.damaged.Add(1)
	}
}

// stop ends the writer for others. Only the first call gets ok; that one owns
// everything. failed is why nothing could be added any more.
func (w *Writer) stop() (ok bool, failed error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false, nil
	}
	failed = w.err
	w.ended, w.err = true, errEnded
	<-w.spare
	return true, failed
}

// Abort removes the files written so far. The index that was there before stays.
// After Finish or Abort it does nothing.
func (w *Writer) Abort() error {
	if ok, _ := w.stop(); !ok {
		return nil
	}
	return w.removeTemp()
}

// Finish writes the index and puts it in the place of the one before, whole or
// not at all. Nothing may be added meanwhile. With an error the index before is
// as it was, unless only the sync of the directory failed; the writer has ended all the same.
// ctx may end it until the new file has its name.
func (w *Writer) Finish(ctx context.Context, sync vfs.SyncOptions) (stats Stats, err error) {
	ok, failed := w.stop()
	if !ok {
		return Stats{}, errEnded
	}
	defer func() { err = errors.Join(err, w.removeTemp()) }()
	if failed != nil {
		return Stats{}, failed
	}
	if stats, err = w.finish(ctx, sync); err != nil {
		return Stats{}, fmt.Errorf("write an index of references: %w", err)
	}
	return stats, nil
}

func (w *Writer) finish(ctx context.Context, sync vfs.SyncOptions) (Stats, error) {
	aside := path.Join(w.dir, asideName)
	file, err := vfs.CreateAnew(w.fs, aside)
	if err != nil {
		return Stats{}, err
	}
	out := newOutput(file)
	err = w.mergeInto(ctx, out)
	var stats Stats
	if err == nil {
		stats, err = out.close(w.tid, w.skipped.Load(), w.damaged.Load())
	}
	if err == nil && sync.File {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = w.fs.Rename(aside, path.Join(w.dir, FileName))
	}
	if err != nil {
		return Stats{}, errors.Join(err, w.fs.Remove(aside))
	}
	if sync.Dir {
		err = w.fs.SyncDir(w.dir)
	}
	return stats, err
}

// mergeInto writes everything that was added: the runs, and the pairs still in memory.
func (w *Writer) mergeInto(ctx context.Context, out *output) error {
	slices.SortFunc(w.buf, comparePairs)
	sources := []source{&pairsInMemory{w.buf}}
	size := max(runRead, w.memory/2/max(1, len(w.runs)))
	for _, r := range w.runs {
		sources = append(sources, newRunReader(w.temp, r, size))
	}
	n := 0
	for p, err := range merge(sources) {
		if err == nil && n%1024 == 0 {
			err = ctx.Err()
		}
		n++
		if err == nil {
			err = out.add(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
