package state

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Options are the constants of a state.
type Options struct {
	Log      *slog.Logger
	Clock    func() time.Time
	Home     string // the path of HOME, for messages
	ReadOnly bool
	Minimal  bool // class Minimal
	Cache    Cache
	Journal  settings.Journal // thresholds of the flush

	RecordMemory  int64 // bytes of unflushed records that are kept in memory
	LogMemory     int64 // bytes of memory of the index at which a flush begins
	RetryInterval time.Duration
	SnapshotLimit time.Duration // negative: however long
	HasReserve    bool          // a reserve is wanted on the disk
}

// Cache holds current revisions as the files have them.
type Cache interface {
	// Replace puts the newest revisions of some objects into the cache, and removes those
	// that are nil. No revision that was looked up in an earlier generation gets in later. It may
	// be called more than once for a generation. The map belongs to the caller.
	Replace(newest map[zodb.OID]*record.Object, generation uint64)
}

// State is the state of an open storage.
type State struct {
	o       Options
	version atomic.Uint64 // counts the changes of the index
	passing atomic.Int64  // errors that pass
	// hasLogFull says that logFull is set, to those who do not hold mu.
	hasLogFull atomic.Bool
	woken      chan struct{}

	// Progress is how much of the flush that is under way is done, in units of its own.
	Progress store.Progress

	// forgetting is held while the generation changes. It is taken before mu.
	forgetting sync.Mutex

	// mu guards everything below.
	mu         Mutex
	index      index
	generation uint64      // counts the changes that may concern the cache
	last       zodb.TID    // last published transaction
	flushed    zodb.TID    // last flushed transaction
	counts     zodb.Counts // of everything flushed
	countsOfA  zodb.Counts // of A, when the last snapshot was entered
	snap       snapshot
	failure    error         // first cause of being read-only
	socketErr  error         // why there is no control socket, where one is wanted
	socket     io.Closer     // the control socket; nil: there is none
	closed     bool          // Close was called
	changed    chan struct{} // closed and replaced when something changed that somebody may wait for

	trouble trouble // an obstacle to the worker that passes
	logFull error   // of the last transaction, if a full disk kept it out of the log
	// logFullFree is the least free space at the last look before that, and since.
	logFullFree int64
	task        *Task    // somebody's work on A; nil: there is none
	flushTo     zodb.TID // somebody waits until this one is flushed
	crowd       zodb.TID // up to here everything is flushed before anything is committed
	pace        pace
	room        room
	low         string // the resource that is low on the file system; empty: none
	refuse      bool   // there is no reserve, and no room for one: the rest is for a pack
}

// New returns the state of a storage that has no transactions and is in no mode.
func New(o Options) *State {
	s := &State{o: o, mu: Mutex{Log: o.Log}, woken: make(chan struct{}, 1), changed: make(chan struct{})}
	s.index = index{keep: o.RecordMemory, minimal: o.Minimal}
	return s
}

// Wake makes the worker look for work. It never blocks.
func (s *State) Wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// Woken receives a value after Wake.
func (s *State) Woken() <-chan struct{} { return s.woken }

// signal wakes all that wait for a change. mu must be held.
func (s *State) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// waitUntil waits until cond, which is called with mu held, reports true or an error.
func (s *State) waitUntil(ctx context.Context, cond func() (bool, error)) error {
	for {
		s.mu.Lock()
		ok, err := cond()
		changed := s.changed
		s.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Fail makes the storage read-only for good, and returns the error that every writer gets.
// Only the first cause is kept. A snapshot that is asked for and not begun is refused.
func (s *State) Fail(cause error) error { return s.fail(&s.mu, cause) }

// FailUnder is Fail for a caller that holds a lock, exclusively: the line for the log is
// written when that is given back.
func (s *State) FailUnder(held *Mutex, cause error) error { return s.fail(held, cause) }

func (s *State) fail(lines *Mutex, cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = cause
		if q := s.snap.entering; q != nil && !q.begun {
			s.snap.entering = nil
			q.end(&zodb.FailedError{Cause: cause})
		}
		lines.Say(slog.LevelError, "storage became read-only", "err", cause)
		s.signal()
	}
	return &zodb.FailedError{Cause: s.failure}
}

// Failure returns the first cause of being read-only; nil if there is none.
func (s *State) Failure() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.failure
}

// Writable returns why nothing can be written, or nil: ErrClosed, zodb.ErrReadOnly or a
// *FailedError.
func (s *State) Writable() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.writable()
}

// writable is Writable for callers that hold mu, at least shared.
func (s *State) writable() error {
	switch {
	case s.closed:
		return zodb.ErrClosed
	case s.o.ReadOnly:
		return zodb.ErrReadOnly
	case s.failure != nil:
		return &zodb.FailedError{Cause: s.failure}
	}
	return nil
}

// Close notes that Close was called, and returns the control socket, if there is one. From
// then on Writable returns ErrClosed, and no socket is taken. first is false if it was
// called before.
func (s *State) Close() (socket io.Closer, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	s.closed = true
	s.signal()
	return s.socket, true
}

// Served takes a control socket, or the error of making it. first reports whether the
// attempt before did not fail; late whether Close was called meanwhile, so that the caller
// has to close the socket.
func (s *State) Served(socket io.Closer, err error) (first, late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = s.socketErr == nil
	s.socketErr = err
	late = s.closed && err == nil
	if err == nil && !late {
		s.socket = socket
	}
	return first, late
}

// SocketIsMissing reports whether there is no control socket, and should be one.
func (s *State) SocketIsMissing() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.socketErr != nil && !s.closed
}

// TakeSublock returns misc/sublock for the caller to give back; nil if it is not held.
func (s *State) TakeSublock() vfs.Lock {
	s.mu.Lock()
	defer s.mu.Unlock()
	lock := s.snap.sublock
	s.snap.sublock = nil
	return lock
}

// HoldsSublock reports whether misc/sublock is held.
func (s *State) HoldsSublock() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.snap.sublock != nil
}
