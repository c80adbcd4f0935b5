package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

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
	if err := s.state.Writable(); err != nil {
		return err
	}
	if err := s.stillHome(); err != nil {
		return err
	}
	// Before anything else: what enters A after this snapshot must not look older
	// than this moment.
	moment := s.o.Clock()
	s.space.MakeRoom(space.ForSnapshot)
	if err := s.worker.raiseFloor(s); err != nil {
		return err
	}
	q := state.NewEntry(code, moment)
	if err := s.state.Ask(ctx, q); err != nil {
		return err
	}
	select {
	case <-q.Done():
		return q.Err()
	case <-ctx.Done():
	}
	// The worker may be past the point of no return: then it has to be left again.
	if !s.state.Withdraw(q) {
		<-q.Done()
		if q.Err() == nil {
			s.AbandonSnapshot(code)
		}
	}
	return ctx.Err()
}

// enterNow is the worker's part: all up to the boundary is in A and durable.
func (s *Storage) enterNow(q *state.Entry) error {
	upTo, ok := s.state.BeginEntry(q)
	if !ok {
		return nil
	}
	if err := s.home.Check(); err != nil {
		s.state.NotEntered(q)
		q.End(fmt.Errorf("enter snapshot mode: %w", s.state.Refused(err)))
		return err
	}
	s.store.UseB()
	// Again: what the flush up to the boundary has put into A bears the time of
	// the first floor, and the next version must be of a later second.
	err := s.worker.raiseFloor(s)
	if err == nil {
		err = s.store.Sync() // what a pack owes that failed
	}
	if err == nil {
		err = snapfile.Write(s.home.FS, snapfile.Record{Code: snapfile.User(q.Code), Moment: q.Moment.UTC(), TID: upTo}, s.home.Sync())
	}
	var failed error
	taken := true // no file claims a snapshot
	if err != nil {
		// No file may claim a snapshot while A changes.
		if rerr := snapfile.Remove(s.home.FS, s.home.Sync()); rerr != nil {
			err = errors.Join(err, rerr)
			if taken = !vfs.Passes(rerr); taken {
				failed = s.state.Fail(fmt.Errorf("enter snapshot mode: %w", err))
			}
		}
	}
	if err == nil || !taken {
		s.modeMu.Lock()
		sublock := s.state.Entered(q, !taken)
		if cerr := sublock.Close(); cerr != nil { // it is free all the same
			s.modeMu.Say(slog.LevelWarn, "giving back the sublock", "err", cerr)
		}
		s.modeMu.Unlock()
	} else {
		s.state.NotEntered(q)
	}
	if err != nil {
		err = fmt.Errorf("enter snapshot mode: %w", s.state.Refused(err))
	} else {
		s.log.Info("entered snapshot mode", "code", q.Code, "tid", upTo)
	}
	q.End(err)
	return failed
}
