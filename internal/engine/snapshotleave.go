package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// LeaveSnapshot ends the snapshot mode that was entered under that code: B is
// moved into A in the background. It fails, and changes nothing, if the code
// is another one, or while somebody holds the sublock (ErrLocked). After an error
// that passes (ErrDiskFull, ErrScarce) it is left as soon as that is possible.
func (s *Storage) LeaveSnapshot(_ context.Context, code string) error {
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	if err := s.state.IsIn(code); err != nil {
		return err
	}
	return s.leaveLater(s.leave())
}

// leaveLater has the worker leave the mode if an error passes that kept somebody
// from it, in case nobody tries again. modeMu must be held.
func (s *Storage) leaveLater(err error) error {
	if vfs.Passes(err) {
		s.state.NotePassing()
		s.state.LeaveLater()
	}
	return err
}

// EndSnapshot is LeaveSnapshot for an owner that holds the sublock itself. When it
// returns, misc/snapshot is gone, durably, so nobody else can take A for a
// snapshot between this and the moment at which the owner gives the sublock back.
// A stands still until then, and the storage leaves the mode when it finds the
// lock free; AbandonSnapshot makes it look at once.
func (s *Storage) EndSnapshot(_ context.Context, code string) error {
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	if err := s.state.IsIn(code); err != nil {
		return err
	}
	err := s.leave()
	if !errors.Is(err, zodb.ErrLocked) {
		return s.leaveLater(err)
	}
	if err := s.unclaim(); err != nil {
		return s.leaveLater(err)
	}
	s.state.Unclaimed()
	return nil
}

// leave takes the sublock and ends the mode. Flushes go to B before it and after it, until
// B has been merged into A. modeMu must be held.
func (s *Storage) leave() error {
	if err := s.home.Check(); errors.Is(err, zodb.ErrHomeChanged) {
		return s.state.FailUnder(&s.modeMu, err)
	} else if err != nil {
		return err
	}
	if err := s.payFloor(); err != nil {
		return err
	}
	lock, err := s.home.FS.Lock(sublockFile)
	if err != nil {
		if locked, ok := errors.AsType[*vfs.LockedError](err); ok {
			if locked.PID == os.Getpid() {
				locked.PID = 0 // of this process, by when it had the lock: flock(1) writes nothing
			}
			return fmt.Errorf("%w: the snapshot is still in use: %w", zodb.ErrLocked, err)
		}
		return err
	}
	// From here on A may change, so the removal has to be durable first.
	if err := s.unclaim(); err != nil {
		return errors.Join(err, lock.Close())
	}
	s.state.Left(lock)
	s.modeMu.Say(slog.LevelInfo, "left snapshot mode")
	return nil
}

// unclaim removes misc/snapshot durably. A still stands still; after an error that
// does not pass nobody knows whether the file comes back. modeMu must be held.
func (s *Storage) unclaim() error {
	err := snapfile.Remove(s.home.FS, s.home.Sync())
	if err == nil {
		return nil
	}
	err = fmt.Errorf("leave snapshot mode: %w", err)
	if !vfs.Passes(err) {
		_ = s.state.FailUnder(&s.modeMu, err) // logged, and told to every writer
	}
	return vfs.WithPassing(err)
}

// AbandonSnapshot makes the storage leave snapshot mode by itself, once the
// sublock is free, if it is in it under that code: its owner is gone. From then
// on nobody else is told that A is a snapshot.
func (s *Storage) AbandonSnapshot(code string) { s.state.Abandon(code) }

// leaveIfFree leaves a mode that nobody will leave from outside, if the
// sublock is free. The error is what kept it from that, but not that it is not free.
func (s *Storage) leaveIfFree() error {
	if !s.state.LeavesByItself() { // also while somebody else is leaving it: the worker goes on
		return nil
	}
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	if !s.state.LeavesByItself() {
		return nil
	}
	err := s.leave()
	if errors.Is(err, zodb.ErrLocked) {
		s.closeSnapshot()
		return nil
	}
	return err
}

// closeSnapshot lets nobody else be told that A is a snapshot, while whoever was
// told so keeps it. modeMu must be held.
func (s *Storage) closeSnapshot() {
	if !s.state.CloseToOthers() {
		return
	}
	if err := snapfile.Close(s.home.FS); err != nil {
		s.modeMu.Say(slog.LevelWarn, "others may still join the snapshot", "err", err)
	}
}
