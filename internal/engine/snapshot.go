package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// snapshotState is the state of snapshot mode. Storage.mu guards it; only the
// worker changes side, and mode to something.
type snapshotState struct {
	side        store.Side // where flushes go
	mode        string     // modeNone, modeStartup, modeUser or modeLeaving
	code        string     // of modeUser
	recombining bool       // B may hold files that have to go to A
	sublock     vfs.Lock   // misc/sublock; nil while somebody else has it or may take it
	entering    *enterRequest
	abandoned   string // code whose owner is gone

	since  time.Time // of a mode: in modeUser the moment before it was asked for
	tid    zodb.TID  // of a mode: the last transaction in A
	newer  int64     // transactions that were published since
	told   bool      // the log says that it lasts long
	closed bool      // nobody else is to be told that A is a snapshot
}

// The modes. In modeStartup somebody else held the sublock when the storage
// was opened. In modeLeaving misc/snapshot is gone, and somebody else, its owner,
// has not given the sublock back yet. Both are left as soon as the lock is free.
const (
	modeNone    = ""
	modeStartup = "startup"
	modeUser    = "user"
	modeLeaving = "leaving"
)

// leavesByItself reports whether the mode ends as soon as the sublock is free.
func (st *snapshotState) leavesByItself() bool {
	return st.mode == modeStartup || st.mode == modeLeaving || st.mode == modeUser && st.abandoned != ""
}

// enterRequest is a request to enter snapshot mode that the worker works on.
type enterRequest struct {
	code   string
	moment time.Time // before anything was done for it
	// upTo is the last transaction when it was asked for, which the snapshot will hold;
	// later the one with which A ends, which is the same unless a flush was about to begin.
	upTo zodb.TID
	done chan struct{}
	err  error
	// begun: the worker is at it, and will close done; it can't be withdrawn any more.
	begun bool
}

// String gives the state as status and misc/snapshot show it: “”, “startup”,
// “user/CODE”, “leaving”, or “recombining” while B is moved into A.
func (st *snapshotState) String() string {
	switch {
	case st.mode == modeUser:
		return snapfile.User(st.code)
	case st.mode != modeNone:
		return st.mode
	case st.recombining:
		return "recombining"
	}
	return ""
}

// maxCode is the longest snapshot code in bytes.
const maxCode = 200

// EnterSnapshot puts the storage into snapshot mode under a code that the
// caller chooses. When it returns, misc/snapshot exists, A holds exactly the
// transactions up to the one that was last at some moment during the call,
// everything of A is durable, and nothing below A changes until
// [Storage.LeaveSnapshot] is called with the same code. The sublock is free
// then: whoever copies A takes it, and the mode cannot be left before it is
// given back. Writers go on meanwhile.
//
// It waits, until ctx ends, for an earlier snapshot's B to be moved into A. If
// the storage is in snapshot mode already, the error matches ErrSnapshotMode, and
// says by whom it was entered, and when.
func (s *Storage) EnterSnapshot(ctx context.Context, code string) error {
	if code == "" || len(code) > maxCode || strings.ContainsAny(code, "\n\r\x00") {
		return fmt.Errorf("bad snapshot code %q: want 1 to %d bytes without line breaks", code, maxCode)
	}
	s.mu.RLock()
	err := s.writable()
	s.mu.RUnlock()
	if err != nil {
		return err
	}
	// Before anything else: what enters A after this snapshot must not look older
	// than this moment.
	moment := s.o.Clock()
	s.makeRoom(roomForSnapshot)
	if err := s.worker.raiseFloor(s); err != nil {
		return err
	}
	q := &enterRequest{code: code, moment: moment, done: make(chan struct{})}
	err = s.waitUntil(ctx, func() (bool, error) {
		if err := s.writable(); err != nil {
			return false, err
		}
		if s.snap.mode != modeNone && s.snap.mode != modeLeaving {
			return false, s.inModeAlready()
		}
		if s.snap.mode == modeLeaving || s.snap.recombining || s.snap.entering != nil {
			return false, nil
		}
		q.upTo = s.last
		s.snap.entering = q
		return true, nil
	})
	if err != nil {
		return err
	}
	s.worker.wake()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
	}
	// The worker may be past the point of no return: then it has to be left again.
	s.mu.Lock()
	withdrawn := s.snap.entering == q && !q.begun
	if withdrawn {
		s.snap.entering = nil
		s.signal()
	}
	s.mu.Unlock()
	if !withdrawn {
		<-q.done
		if q.err == nil {
			s.AbandonSnapshot(code)
		}
	}
	return ctx.Err()
}

// enterNow is the worker's part: all up to the boundary is in A and durable.
func (s *Storage) enterNow(q *enterRequest) error {
	s.mu.Lock()
	// What next has decided may be of a moment before: q may be withdrawn since, or come
	// after another one that was, with more that has to be in A.
	if s.snap.entering != q || !s.unflushed.after(q.upTo) {
		s.mu.Unlock()
		return nil
	}
	// It stays the one that enters until it has, so that there is no second one.
	q.begun = true
	q.upTo = s.flushed // nothing is flushed until this returns
	s.snap.side = store.B
	s.mu.Unlock()
	s.store.UseB()
	// Again: what the flush up to the boundary has put into A bears the time of
	// the first floor, and the next version must be of a later second.
	err := s.worker.raiseFloor(s)
	if err == nil {
		err = s.store.Sync() // what a pack owes that failed
	}
	if err == nil {
		err = snapfile.Write(s.fs, snapfile.Record{Code: snapfile.User(q.code), Moment: q.moment.UTC(), TID: q.upTo}, s.syncOptions())
	}
	var failed error
	taken := true // no file claims a snapshot
	if err != nil {
		// No file may claim a snapshot while A changes.
		if rerr := snapfile.Remove(s.fs, s.syncOptions()); rerr != nil {
			err = errors.Join(err, rerr)
			if taken = !vfs.Passes(rerr); taken {
				failed = s.fail(fmt.Errorf("enter snapshot mode: %w", err))
			}
		}
	}
	s.modeMu.Lock()
	s.mu.Lock()
	if s.snap.entering == q {
		s.snap.entering = nil
	}
	sublock := s.snap.sublock
	if err == nil || !taken {
		s.beginMode(modeUser, q.moment, q.upTo)
		s.snap.code = q.code
		if !taken {
			s.snap.abandoned = q.code // the worker takes the file back as soon as it can
		}
		s.countsOfA = s.counts
		s.snap.sublock = nil
	} else {
		s.snap.side, sublock = store.A, nil
	}
	s.signal()
	s.mu.Unlock()
	if sublock != nil {
		if cerr := sublock.Close(); cerr != nil { // it is free all the same
			s.modeMu.say(slog.LevelWarn, "giving back the sublock", "err", cerr)
		}
	}
	s.modeMu.Unlock()
	if err != nil {
		q.err = fmt.Errorf("enter snapshot mode: %w", s.refused(err))
	} else {
		s.log.Info("entered snapshot mode", "code", q.code, "tid", q.upTo)
	}
	close(q.done)
	return failed
}

func (s *Storage) syncOptions() vfs.SyncOptions {
	sync := s.settings.Filesystem.Sync
	return vfs.SyncOptions{File: sync, Dir: sync && s.settings.POSIX.DirSync}
}

// beginMode notes that the storage is in a mode now. mu must be held.
func (s *Storage) beginMode(mode string, since time.Time, tid zodb.TID) {
	s.snap.mode, s.snap.code, s.snap.abandoned = mode, "", ""
	s.snap.since, s.snap.tid, s.snap.newer = since, tid, int64(len(s.unflushed.queue))
	s.snap.told, s.snap.closed = false, false
}
