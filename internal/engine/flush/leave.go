package flush

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Leave ends the snapshot mode that was entered under that code: B is
// moved into A in the background. It fails, and changes nothing, if the code
// differs, or while somebody holds the sublock (ErrLocked). After an error
// that passes (ErrDiskFull, ErrScarce) it is left as soon as that is possible.
func (s *Snapshots) Leave(code string) error {
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	if err := s.o.State.IsIn(code); err != nil {
		return err
	}
	return s.leaveLater(s.leaveNow())
}

// leaveLater has the worker leave the mode if an error passes that kept somebody
// from it, in case nobody tries again. modeMu must be held.
func (s *Snapshots) leaveLater(err error) error {
	if vfs.Passes(err) {
		s.o.State.NotePassing()
		s.o.State.LeaveLater()
	}
	return err
}

// End is Leave for an owner that holds the sublock itself. When it
// returns, misc/snapshot is gone, durably, so nobody else can take A for a
// snapshot between this and the moment at which the owner gives the sublock back.
// A stands still until then, and the storage leaves the mode when it finds the
// lock free; Abandon makes it look at once.
func (s *Snapshots) End(code string) error {
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	if err := s.o.State.IsIn(code); err != nil {
		return err
	}
	err := s.leaveNow()
	if !errors.Is(err, zodb.ErrLocked) {
		return s.leaveLater(err)
	}
	if err := s.unclaim(); err != nil {
		return s.leaveLater(err)
	}
	s.o.State.Unclaimed()
	return nil
}

// leaveNow takes the sublock and ends the mode. Flushes go to B before it and after it, until
// B has been merged into A. modeMu must be held.
func (s *Snapshots) leaveNow() error {
	if err := s.o.Home.Check(); errors.Is(err, zodb.ErrHomeChanged) {
		return s.o.State.FailUnder(&s.modeMu, err)
	} else if err != nil {
		return err
	}
	if err := s.payFloor(); err != nil {
		return err
	}
	lock, err := s.o.Home.FS.Lock(snapfile.Sublock)
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
	s.o.State.Left(lock)
	s.modeMu.Say(slog.LevelInfo, "left snapshot mode")
	return nil
}

// unclaim removes misc/snapshot durably. A still stands still; after an error that
// does not pass nobody knows whether the file comes back. modeMu must be held.
func (s *Snapshots) unclaim() error {
	err := snapfile.Remove(s.o.Home.FS, s.o.Home.Sync())
	if err == nil {
		return nil
	}
	err = fmt.Errorf("leave snapshot mode: %w", err)
	if !vfs.Passes(err) {
		_ = s.o.State.FailUnder(&s.modeMu, err) // logged, and told to every writer
	}
	return vfs.WithPassing(err)
}

// Abandon makes the storage leave snapshot mode by itself, once the
// sublock is free, if it is in it under that code: its owner is gone. From then
// on nobody else is told that A is a snapshot.
func (s *Snapshots) Abandon(code string) { s.o.State.Abandon(code) }

// leaveIfFree leaves a mode that nobody will leave from outside, if the
// sublock is free. The error is the obstacle; a lock that is not free is not an error.
func (s *Snapshots) leaveIfFree() error {
	if !s.o.State.LeavesByItself() { // also while somebody else is leaving it: the worker goes on
		return nil
	}
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	if !s.o.State.LeavesByItself() {
		return nil
	}
	err := s.leaveNow()
	if errors.Is(err, zodb.ErrLocked) {
		s.closeSnapshot()
		return nil
	}
	return err
}

// closeSnapshot ends the answer that A is a snapshot; callers that were told so before
// keep it. modeMu must be held.
func (s *Snapshots) closeSnapshot() {
	if !s.o.State.CloseToOthers() {
		return
	}
	if err := snapfile.Close(s.o.Home.FS); err != nil {
		s.modeMu.Say(slog.LevelWarn, "others may still join the snapshot", "err", err)
	}
}

// leaveByItself tries to leave a snapshot that nobody will leave from outside. The cause of a
// failure is in the log once.
func (s *Snapshots) leaveByItself() {
	s.leaveAt = s.o.Clock().Add(s.o.RetryInterval)
	err := s.leaveIfFree()
	if err != nil && !s.stays {
		s.o.Log.Warn("cannot leave snapshot mode yet", "err", err)
	}
	s.stays = err != nil
}
