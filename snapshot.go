package dirstorage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/dirstorage/dirstorage/internal/tree"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// snapshotState is the state of snapshot mode. Storage.mu guards it; only the
// worker changes side, and mode to something.
type snapshotState struct {
	side        tree.Side // where flushes go
	mode        string    // modeNone, modeStartup or modeUser
	code        string    // of modeUser
	recombining bool      // B may hold files that have to go to A
	sublock     vfs.Lock  // misc/sublock; nil while somebody else has it or may take it
	entering    *enterRequest
	abandoned   string // code whose owner is gone
}

// The modes. In modeStartup somebody else held the sublock when the storage
// was opened; it is left as soon as the lock is free.
const (
	modeNone    = ""
	modeStartup = "startup"
	modeUser    = "user"
)

// shutdownCode is in misc/snapshot after a clean close.
const shutdownCode = "shutdown"

// enterRequest is a request to enter snapshot mode that the worker works on.
type enterRequest struct {
	code string
	upTo zodb.TID // what the snapshot will hold: the last transaction when it was asked for
	done chan struct{}
	err  error
	// begun: the worker is at it, and will close done; it can't be withdrawn any more.
	begun bool
}

// String gives the state as status and misc/snapshot show it: “”, “startup”,
// “user/CODE”, with “recombining” before it while B is moved into A.
func (st *snapshotState) String() string {
	switch {
	case st.mode == modeUser:
		return modeUser + "/" + st.code
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
// the storage is in snapshot mode already, the error matches ErrSnapshotMode.
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
	if err := s.worker.raiseFloor(s); err != nil {
		return err
	}
	q := &enterRequest{code: code, done: make(chan struct{})}
	err = s.waitUntil(ctx, func() (bool, error) {
		if err := s.writable(); err != nil {
			return false, err
		}
		if s.snap.mode != modeNone {
			return false, fmt.Errorf("%w: the storage is in it already: %s", ErrSnapshotMode, s.snap.String())
		}
		if s.snap.recombining || s.snap.entering != nil {
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
	if s.snap.entering != q { // withdrawn
		s.mu.Unlock()
		return nil
	}
	// It stays the one that enters until it has, so that there is no second one.
	q.begun = true
	s.snap.side = tree.B
	s.mu.Unlock()
	s.tree.UseB()
	// Again: what the flush up to the boundary has put into A bears the time of
	// the first floor, and the next version must be of a later second.
	err := s.worker.raiseFloor(s)
	if err == nil {
		err = s.writeSnapshotFile(modeUser + "/" + q.code)
	}
	var failed error
	taken := true // no file claims a snapshot
	if err != nil {
		// No file may claim a snapshot while A changes.
		if rerr := s.removeSnapshotFile(); rerr != nil {
			err = errors.Join(err, rerr)
			if taken = !vfs.Passes(rerr); taken {
				failed = s.fail(fmt.Errorf("enter snapshot mode: %w", err))
			}
		}
	}
	s.mu.Lock()
	if s.snap.entering == q {
		s.snap.entering = nil
	}
	if err == nil || !taken {
		s.snap.mode, s.snap.code = modeUser, q.code
		if !taken {
			s.snap.abandoned = q.code // the worker takes the file back as soon as it can
		}
		s.countsOfA = s.counts
		if cerr := s.snap.sublock.Close(); cerr != nil { // it is free all the same
			s.log.Warn("giving back the sublock", "err", cerr)
		}
		s.snap.sublock = nil
	} else {
		s.snap.side = tree.A
	}
	s.signal()
	s.mu.Unlock()
	if err != nil {
		q.err = fmt.Errorf("enter snapshot mode: %w", s.refused(err))
	} else {
		s.log.Info("entered snapshot mode", "code", q.code, "tid", q.upTo)
	}
	close(q.done)
	return failed
}

// LeaveSnapshot ends the snapshot mode that was entered under that code: B is
// moved into A in the background. It fails, and changes nothing, if the code
// is another one, or while somebody holds the sublock (ErrLocked). After an error
// that passes (ErrDiskFull, ErrScarce) it is left as soon as that is possible.
func (s *Storage) LeaveSnapshot(_ context.Context, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if s.snap.mode != modeUser {
		return fmt.Errorf("%w: the storage is not in it, its state is %q", ErrSnapshotMode, s.snap.String())
	}
	if s.snap.code != code {
		return fmt.Errorf("%w: it was entered under another code, %q", ErrSnapshotMode, s.snap.code)
	}
	err := s.leave()
	if vfs.Passes(err) {
		s.passing.Add(1)
		s.snap.abandoned = code // if nobody tries again, the worker does
		s.worker.wake()
	}
	return err
}

// leave takes the sublock and ends the mode. mu must be held; it is the one
// place where files are written under it, so that no flush goes to a side that
// is no longer the right one. That happens once a snapshot.
func (s *Storage) leave() error {
	lock, err := s.fs.Lock(sublockFile)
	if err != nil {
		if errors.Is(err, vfs.ErrLocked) {
			return fmt.Errorf("%w: the snapshot is still in use: %w", ErrLocked, err)
		}
		return err
	}
	// From here on A may change, so the removal has to be durable first.
	if err := s.removeSnapshotFile(); err != nil {
		err = errors.Join(fmt.Errorf("leave snapshot mode: %w", err), lock.Close())
		if !vfs.Passes(err) {
			s.failLocked(err)
		}
		return vfs.WithPassing(err) // A still stands still
	}
	s.snap.sublock = lock
	s.snap.mode, s.snap.code, s.snap.abandoned = modeNone, "", ""
	s.snap.recombining = true
	s.signal()
	s.worker.wake()
	s.log.Info("left snapshot mode")
	return nil
}

// AbandonSnapshot makes the storage leave snapshot mode by itself, once the
// sublock is free, if it is in it under that code: its owner is gone.
func (s *Storage) AbandonSnapshot(code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snap.mode == modeUser && s.snap.code == code {
		s.snap.abandoned = code
		s.worker.wake()
	}
}

// leaveIfFree leaves a mode that nobody will leave from outside, if the
// sublock is free. It reports whether there is nothing left to wait for.
func (s *Storage) leaveIfFree() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snap.mode != modeStartup && s.snap.abandoned == "" {
		return true, nil
	}
	err := s.leave()
	if errors.Is(err, ErrLocked) {
		return false, nil
	}
	return err == nil, err
}

func (s *Storage) writeSnapshotFile(code string) error {
	return vfs.WriteFileAtomic(s.fs, journalDir+"/aside-snapshot", snapshotFile, []byte(code), s.syncOptions())
}

// removeSnapshotFile removes the claim that A is a snapshot, durably.
func (s *Storage) removeSnapshotFile() error {
	err := s.fs.Remove(snapshotFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && s.syncOptions().Dir {
		err = s.fs.SyncDir("misc")
	}
	return err
}

func (s *Storage) syncOptions() vfs.SyncOptions {
	sync := s.settings.Filesystem.Sync
	return vfs.SyncOptions{File: sync, Dir: sync && s.settings.POSIX.DirSync}
}
