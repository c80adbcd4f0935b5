package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// ErrClosed is returned by every method of a Log after Close or Clean.
var ErrClosed = errors.New("the log is closed")

// Log is an open log. All methods may be called concurrently, but for Commit,
// which one goroutine calls. The order of the locks is in the package's
// description.
type Log struct {
	o     Options
	syncs atomic.Int64

	// syncMu is held over every fsync and every change of segments. It guards
	// spares too.
	syncMu  sync.Mutex
	spares  []string // files that wait to be used again
	garbage []string // files that mean nothing and could not be removed
	spareNo int      // number of the next spare

	// mu guards the fields below. It is held while frames are written.
	mu       sync.Mutex
	segments []*segment            // ascending; the last one is written to, once begun
	begun    bool                  // there is a segment of this run
	unnamed  bool                  // the name of the last segment is not durable yet, so it is not written to
	behind   []string              // files behind the cut; they go before the first segment of this run comes
	previous int64                 // end of the frames found in the last segment
	durable  Position              // everything before it is durable; zero without Sync
	open     int                   // transactions that were appended and neither committed nor aborted
	handle   uint64                // last one given
	last     zodb.TID              // last one committed
	pinned   map[zodb.TID]*segment // where the data of unreleased transactions are
	buf      []byte                // for frames
	failure  error                 // first cause of being poisoned
	closed   bool

	// segMu guards bySeq. Nothing is written or read while it is held.
	segMu sync.RWMutex
	bySeq map[uint64]*segment // those of segments
}

// segment is one file of the log.
type segment struct {
	seq  uint64
	path string
	f    vfs.File
	seal seal
	size int64
	made bool // by this run, so it has its blocks
	// Changed with Log.mu held:
	end atomic.Int64 // behind the last frame
	// Guarded by Log.mu:
	written int64 // blocks before that were written to, by frames or else
	pins    int   // transactions with data here that are needed

	use sync.RWMutex // held shared to read from f, exclusively to close it
}

func newSegment(seq uint64, path string, f vfs.File, seal seal, size, end int64) *segment {
	s := &segment{seq: seq, path: path, f: f, seal: seal, size: size}
	s.end.Store(end)
	return s
}

// Stats are numbers about a log.
type Stats struct {
	Syncs    int64 // calls of fsync since Open, of files and of the directory
	Bytes    int64 // written into the segments that are in use
	Segments int   // in use
	Size     int64 // of their files, in bytes
}

// Open reads the log and makes it durable. The caller releases the transactions found one by one.
// Open itself changes nothing, though it writes the end of the log once more, unchanged: the first
// Append or Clean makes a segment of this run. Errors: *zodb.CorruptError for damage; an error that
// says so for a newer format version; those of the file system, after which Open may be tried
// again.
func Open(o Options) (*Log, *Recovered, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, nil, err
	}
	r, err := readLog(&o, o.FS.OpenWrite, o.Sync)
	if err != nil {
		return nil, nil, err
	}
	l := &Log{o: o, pinned: make(map[zodb.TID]*segment), bySeq: make(map[uint64]*segment), last: r.last}
	if err := l.start(r); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open the log: %w", err), l.closeFiles())
	}
	logFound(&o, &r.found)
	return l, &r.found, nil
}

// logFound logs the findings of recovery.
func logFound(o *Options, f *Recovered) {
	if c := f.Cut; c != nil {
		o.Logger.Warn("log cut at its torn end", "path", c.Path, "offset", c.Offset, "reason", c.Reason, "commits", c.Commits)
	}
	if n := len(f.Transactions); n > 0 {
		o.Logger.Info("log read", "transactions", n, "tid", f.Transactions[n-1].TID)
	}
}

// start takes over the segments that recovery read.
func (l *Log) start(r *recovery) error {
	for _, s := range r.sources {
		l.add(newSegment(s.seq, s.path, s.f, newSeal(l.o.Identity, s.seq), s.size, s.end))
		l.previous = s.end
	}
	for tid, seq := range r.where {
		l.bySeq[seq].pins++
		l.pinned[tid] = l.bySeq[seq]
	}
	l.behind, l.garbage = r.behind, r.stale
	for _, name := range r.stale {
		l.spareNo = max(l.spareNo, spareNumber(path.Base(name)))
	}
	// The bytes read may have been in the page cache only, and from now on others rely on them.
	if n := len(l.segments); n > 0 {
		last, proven := l.segments[n-1], int64(0)
		if r.newest.seq == last.seq {
			proven = r.newest.durable
		}
		if err := l.writeAgain(last, proven); err != nil {
			return err
		}
	}
	for _, s := range l.segments {
		if err := l.sync(s.f); err != nil {
			return err
		}
	}
	return nil
}

// writeAgain writes the part of the last segment that is not proven durable once more, from an
// offset on, as it was read. If an fsync of the last run failed, the page cache takes those bytes
// for clean, and no fsync would write them. A full disk, where they cannot be written, is not a
// reason to refuse to open.
func (l *Log) writeAgain(s *segment, from int64) error {
	if !l.o.Sync {
		return nil
	}
	from = max(from, headerSize)
	buf := make([]byte, max(0, min(s.end.Load()-from, windowSize)))
	for from < s.end.Load() {
		b := buf[:min(s.end.Load()-from, windowSize)]
		_, err := s.f.ReadAt(b, from)
		if err == nil {
			_, err = s.f.WriteAt(b, from)
		}
		if vfs.Passes(err) {
			l.o.Logger.Warn("the end of the log could not be written once more", "path", s.path, "err", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("write the end of the log once more: %s: %w", s.path, err)
		}
		from += int64(len(b))
	}
	return nil
}

// begin makes the first segment of this run, behind those found, with room for a transaction of
// that size. After an error that does not poison the log it may be called again. syncMu and mu must
// be held.
func (l *Log) begin(size, txn int64) error {
	if len(l.behind) > 0 { // their numbers are used again
		for _, name := range l.behind {
			if err := l.remove(name); err != nil {
				return err
			}
		}
		if err := l.syncDir(); err != nil {
			return l.poisonUnless(vfs.NotBegun(err), fmt.Errorf("make the names of the log durable: %w", err))
		}
		l.behind = nil
	}
	h := header{identity: l.o.Identity, seq: 1, durable: l.o.Sync, previous: l.previous}
	if len(l.segments) > 0 {
		h.seq = l.current().seq + 1
	}
	return l.next(h, size, txn)
}

// add appends a segment to those in use. mu must be held.
func (l *Log) add(s *segment) {
	l.segments = append(l.segments, s)
	l.segMu.Lock()
	l.bySeq[s.seq] = s
	l.segMu.Unlock()
}

// current is the segment that is written to. mu must be held.
func (l *Log) current() *segment { return l.segments[len(l.segments)-1] }

// usable returns why nothing can be written, or nil. mu must be held.
func (l *Log) usable() error {
	if l.closed {
		return ErrClosed
	}
	return l.failure
}

// poison keeps the first cause of failing and returns it. mu must be held.
func (l *Log) poison(cause error) error {
	if l.failure == nil {
		l.failure = cause
	}
	return l.failure
}

// sync makes a file durable.
func (l *Log) sync(f vfs.File) error {
	if !l.o.Sync {
		return nil
	}
	l.syncs.Add(1)
	return f.Sync()
}

// poisonUnless poisons the log unless it is in a known state all the same. mu must be held.
func (l *Log) poisonUnless(known bool, cause error) error {
	if known {
		return cause
	}
	return l.poison(cause)
}

// remove removes a file; that it is gone already is no error.
func (l *Log) remove(name string) error {
	if err := l.o.FS.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes the names of the log durable.
func (l *Log) syncDir() error {
	if !l.o.Sync || !l.o.DirSync {
		return nil
	}
	l.syncs.Add(1)
	return l.o.FS.SyncDir(l.o.Dir)
}

// syncCurrent makes the current segment durable. syncMu must be held, and mu
// must not, so that others may append meanwhile.
func (l *Log) syncCurrent() error {
	l.mu.Lock()
	s := l.current()
	written := Position{s.seq, s.end.Load()}
	l.mu.Unlock()
	err := l.sync(s.f)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return l.poison(fmt.Errorf("make the log durable: %s: %w", s.path, err))
	}
	if l.o.Sync {
		l.durable = written
	}
	return nil
}

// Stats returns numbers about the log. It does not wait for those who write to it.
func (l *Log) Stats() Stats {
	l.segMu.RLock()
	defer l.segMu.RUnlock()
	st := Stats{Syncs: l.syncs.Load(), Segments: len(l.bySeq)}
	for _, s := range l.bySeq {
		st.Bytes += s.end.Load()
		st.Size += s.size
	}
	return st
}

// Close ends the use of the log and leaves its files for the next Open.
// Transactions that were appended and not committed are lost. It must not be
// called while a Commit is under way.
func (l *Log) Close() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var err error
	if l.failure == nil && l.begun && !l.unnamed {
		// It proves to the next Open that the last commit was durable.
		err = l.writeMark(l.segments[l.unpinned(len(l.segments)-1)].seq)
	}
	return errors.Join(err, l.closeFiles())
}

// closeFiles closes all segments.
func (l *Log) closeFiles() error {
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, l.closeSegment(s))
	}
	l.segments = nil
	return errors.Join(errs...)
}

// closeSegment waits until nobody reads from a segment, and closes it.
func (l *Log) closeSegment(s *segment) error {
	l.segMu.Lock()
	delete(l.bySeq, s.seq)
	l.segMu.Unlock()
	s.use.Lock()
	defer s.use.Unlock()
	return s.f.Close()
}

// Clean removes the log: everything that was committed must have been released
// and nothing be open. It ends the use of the log, as Close does. A crash
// meanwhile leaves either nothing or a log in which nothing is needed.
func (l *Log) Clean() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	err := l.usable()
	if err == nil && (l.open > 0 || len(l.pinned) > 0) {
		err = fmt.Errorf("the log cannot be removed: %s open and %s not released",
			human.Plural(int64(l.open), "transaction is", "transactions are"), human.Plural(int64(len(l.pinned)), "is", "are"))
	}
	if err == nil && !l.begun && len(l.segments)+len(l.behind) > 0 {
		// It takes one to say that those that were found are not needed.
		err = l.begin(minSegmentSize, 0)
	}
	if err == nil {
		err = l.payName()
	}
	empty := len(l.segments) == 0
	l.mu.Unlock()
	if err != nil {
		return err
	}
	// The newest one goes last: it says that the others are not needed.
	if err := l.free(); err != nil {
		return err
	}
	for _, list := range []*[]string{&l.spares, &l.garbage} {
		for _, name := range *list {
			if err := l.remove(name); err != nil {
				return err
			}
		}
		*list = nil
	}
	if empty {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.closed = true
		return nil
	}
	if err := l.syncDir(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	name := l.current().path
	l.closed = true
	err = l.closeFiles()
	if err == nil {
		err = l.o.FS.Remove(name)
	}
	if err == nil {
		err = l.syncDir()
	}
	return err
}
