package state

import (
	"context"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// snapshot is the state of snapshot mode. Only the worker changes toB, and mode to something.
type snapshot struct {
	toB       bool        // flushes go to B, not to A
	mode      Mode        //
	code      string      // of ModeUser
	merging   bool        // B may hold files that have to go to A
	reason    StartReason // of ModeStartup
	sublock   vfs.Lock    // misc/sublock; nil while somebody else has it or may take it
	entering  *Entry      // asked for; nil: nobody asks
	abandoned string      // code whose owner is gone

	since  time.Time // of a mode: in ModeUser the moment before it was asked for
	tid    zodb.TID  // of a mode: the last transaction in A
	newer  int64     // transactions that were published since
	told   bool      // the log says that it lasts long
	closed bool      // nobody else is to be told that A is a snapshot
}

// Mode is the snapshot mode in which a storage is.
type Mode string

// The modes. In ModeStartup somebody else held the sublock when the storage
// was opened. In ModeLeaving misc/snapshot is gone, and somebody else, its owner,
// has not given the sublock back yet. Both are left as soon as the lock is free.
const (
	ModeNone    Mode = ""
	ModeStartup Mode = "startup"
	ModeUser    Mode = "user"
	ModeLeaving Mode = "leaving"
)

// Entry is a request to enter snapshot mode that the worker works on.
type Entry struct {
	Code   string
	Moment time.Time // before anything was done for it
	// upTo is the last transaction when it was asked for, which the snapshot will hold;
	// later the one with which A ends, which is the same unless a flush was about to begin.
	upTo zodb.TID
	done chan struct{}
	err  error // set before done is closed, by the one that ends it
	// begun: the worker is at it, and will end it; it can't be withdrawn any more.
	begun bool
}

// NewEntry returns a request that nobody has made yet.
func NewEntry(code string, moment time.Time) *Entry {
	return &Entry{Code: code, Moment: moment, done: make(chan struct{})}
}

// Done is closed when the request was carried out or refused.
func (q *Entry) Done() <-chan struct{} { return q.done }

// Err is why it was refused, once Done is closed; nil: it was carried out.
func (q *Entry) Err() error { return q.err }

// End ends a request that was begun, for the worker.
func (q *Entry) End(err error) { q.end(err) }

func (q *Entry) end(err error) {
	q.err = err
	close(q.done)
}

// leavesByItself reports whether the mode ends as soon as the sublock is free.
func (st *snapshot) leavesByItself() bool {
	return st.mode == ModeStartup || st.mode == ModeLeaving || st.mode == ModeUser && st.abandoned != ""
}

// String gives the state as status and misc/snapshot show it: “”, “startup”,
// “user/CODE”, “leaving”, or “recombining” while B is merged into A.
func (st *snapshot) String() string {
	switch {
	case st.mode == ModeUser:
		return snapfile.User(st.code)
	case st.mode != ModeNone:
		return string(st.mode)
	case st.merging:
		return "recombining"
	}
	return ""
}

// begin notes that the storage is in a mode now. mu must be held.
func (s *State) begin(mode Mode, since time.Time, tid zodb.TID) {
	s.snap.mode, s.snap.code, s.snap.abandoned = mode, "", ""
	s.snap.since, s.snap.tid, s.snap.newer = since, tid, int64(len(s.index.queue))
	s.snap.told, s.snap.closed = false, false
}

// StartNormal notes that the storage has misc/sublock, and is in no mode. For the open alone.
func (s *State) StartNormal(sublock vfs.Lock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.sublock = sublock
}

// StartReason is why a storage starts in ModeStartup.
type StartReason bool

// The reasons.
const (
	SublockHeld StartReason = false // somebody held misc/sublock
	DiskFull    StartReason = true  // there was no room for the floor of time stamps
)

// StartInSnapshot puts the storage into ModeStartup: flushes go to B, and A stays as it is. For
// the open alone.
func (s *State) StartInSnapshot(reason StartReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.toB, s.snap.reason = true, reason
	s.begin(ModeStartup, s.o.Clock(), 0)
}

// StartedWith notes with which transaction A ends that stays as it is. For the open alone.
func (s *State) StartedWith(tid zodb.TID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.tid = tid
}

// StartBeside notes the snapshot mode in which another process is. For the open of a
// read-only storage alone.
func (s *State) StartBeside(code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.mode, s.snap.code = ModeUser, code
}

// StartMerge has B merged into A, and flushes go to B until that is done. For the open alone.
func (s *State) StartMerge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.merging, s.snap.toB = true, true
}

// Merged notes that B is empty: flushes go to A again.
func (s *State) Merged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.merging, s.snap.toB = false, false
	s.signal()
}

// IsMerging reports whether B may hold files that have to go to A.
func (s *State) IsMerging() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.snap.merging
}

// Ask makes a request to enter snapshot mode, which is to hold every transaction that is
// published now. It waits, until ctx ends, for another request and for B to be merged into
// A. The error matches ErrSnapshotMode if the storage is in a mode already.
func (s *State) Ask(ctx context.Context, q *Entry) error {
	err := s.waitUntil(ctx, func() (bool, error) {
		if err := s.writable(); err != nil {
			return false, err
		}
		if s.snap.mode != ModeNone && s.snap.mode != ModeLeaving {
			return false, s.inModeAlready()
		}
		if s.snap.mode == ModeLeaving || s.snap.merging || s.snap.entering != nil {
			return false, nil
		}
		q.upTo = s.last
		s.snap.entering = q
		return true, nil
	})
	if err == nil {
		s.Wake()
	}
	return err
}

// Withdraw takes a request back. It reports false if the worker has begun with it, or it has
// ended: then Done is closed or will be.
func (s *State) Withdraw(q *Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snap.entering != q || q.begun {
		return false
	}
	s.snap.entering = nil
	s.signal()
	return true
}

// BeginEntry begins with a request: flushes go to B from now on, and the request is the one
// until Entered. upTo is the transaction with which A ends. ok is false, and nothing has
// changed, if the request is not there any more, or not all that it is to hold is flushed.
func (s *State) BeginEntry(q *Entry) (upTo zodb.TID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The worker may have decided a moment before: since then q may be withdrawn, or follow a
	// withdrawn one, with more that has to be in A.
	if s.snap.entering != q || !s.index.after(q.upTo) {
		return 0, false
	}
	q.begun = true
	q.upTo = s.flushed // nothing is flushed before Entered
	s.snap.toB = true
	return q.upTo, true
}

// Entered puts the storage into the mode for which BeginEntry was called, and returns
// misc/sublock for the caller to give back. With claimed misc/snapshot could not be taken
// back after an error: the worker leaves the mode as soon as it can.
func (s *State) Entered(q *Entry, claimed bool) (sublock vfs.Lock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entryEnds(q)
	s.begin(ModeUser, q.Moment, q.upTo)
	s.snap.code = q.Code
	if claimed {
		s.snap.abandoned = q.Code
	}
	s.countsOfA = s.counts
	sublock, s.snap.sublock = s.snap.sublock, nil
	s.signal()
	return sublock
}

// NotEntered takes BeginEntry back: flushes go to A again.
func (s *State) NotEntered(q *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entryEnds(q)
	s.snap.toB = false
	s.signal()
}

func (s *State) entryEnds(q *Entry) {
	if s.snap.entering == q {
		s.snap.entering = nil
	}
}

// IsIn returns an error unless the storage can be written to and is in the snapshot mode
// that was entered under that code.
func (s *State) IsIn(code string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.writable(); err != nil {
		return err
	}
	if s.snap.mode != ModeUser {
		return fmt.Errorf("%w: the storage is not in it, its state is %q", zodb.ErrSnapshotMode, s.snap.String())
	}
	if s.snap.code != code {
		return fmt.Errorf("%w: it was entered under another code, %q", zodb.ErrSnapshotMode, s.snap.code)
	}
	return nil
}

// LeavesByItself reports whether the mode ends as soon as misc/sublock is free.
func (s *State) LeavesByItself() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.snap.leavesByItself()
}

// LeaveLater has the worker leave the mode as soon as that is possible.
func (s *State) LeaveLater() {
	s.mu.Lock()
	s.snap.abandoned = s.snap.code
	s.mu.Unlock()
	s.Wake()
}

// Abandon has the worker leave the mode that was entered under that code as soon as
// misc/sublock is free; it looks at once.
func (s *State) Abandon(code string) {
	s.mu.Lock()
	if s.snap.mode == ModeUser && s.snap.code == code {
		s.snap.abandoned = code
	}
	wake := s.snap.leavesByItself()
	s.mu.Unlock()
	if wake {
		s.Wake()
	}
}

// CloseToOthers notes that nobody else is to be told that A is a snapshot. It reports false
// if that was noted before.
func (s *State) CloseToOthers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.snap.closed
	s.snap.closed = true
	return !again
}

// Unclaimed puts the storage into ModeLeaving.
func (s *State) Unclaimed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.mode, s.snap.code, s.snap.abandoned = ModeLeaving, "", ""
	s.signal()
}

// Left ends the mode: misc/snapshot is gone, the storage has misc/sublock, and B is merged
// into A from now on. Flushes go to B until that is done.
func (s *State) Left(sublock vfs.Lock) {
	s.mu.Lock()
	s.snap.sublock = sublock
	s.begin(ModeNone, time.Time{}, 0)
	s.snap.merging = true
	s.signal()
	s.mu.Unlock()
	s.Wake()
}

// WaitNormal returns when the storage is in no mode and B is empty. Errors: those of
// Writable, and that of ctx.
func (s *State) WaitNormal(ctx context.Context) error {
	return s.waitUntil(ctx, func() (bool, error) {
		if s.snap.mode == ModeNone && !s.snap.merging && s.snap.entering == nil {
			return true, nil
		}
		return false, s.writable()
	})
}

// ShutDown is called at the end of a close: it refuses the snapshot that is asked for, and
// reports whether the storage is in a mode, which then stays as it is.
func (s *State) ShutDown() (inMode bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.snap.entering; q != nil {
		s.snap.entering = nil
		q.end(zodb.ErrClosed)
	}
	return s.snap.mode != ModeNone
}
