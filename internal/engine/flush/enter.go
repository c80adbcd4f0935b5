package flush

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// maxCode is the longest snapshot code in bytes.
const maxCode = 200

// Enter puts the storage into snapshot mode under a code that the
// caller chooses. When it returns, misc/snapshot exists, A holds exactly the
// transactions up to the one that was last at some moment during the call,
// everything of A is durable, and nothing below A changes until
// [Snapshots.Leave] is called with the same code. The sublock is free
// then: the copier of A takes it, and the mode cannot be left before it is given back.
// Writers go on meanwhile.
//
// It waits, until ctx ends, for an earlier snapshot's B to be moved into A. If
// the storage is in snapshot mode already, the error matches ErrSnapshotMode, and
// says by whom it was entered, and when.
func (s *Snapshots) Enter(ctx context.Context, code string) error {
	if code == "" || len(code) > maxCode || strings.ContainsAny(code, "\n\r\x00") || !utf8.ValidString(code) {
		return fmt.Errorf("bad snapshot code %q: want 1 to %d bytes of UTF-8 text without line breaks", code, maxCode)
	}
	if err := s.o.State.Writable(); err != nil {
		return err
	}
	if err := s.stillHome(); err != nil {
		return err
	}
	// Before anything else: files that enter A after this snapshot must not look older
	// than this moment, see enterNow.
	moment := s.o.Clock()
	s.o.Space.MakeRoom(space.ForSnapshot)
	q := state.NewEntry(code, moment)
	if err := s.o.State.Ask(ctx, q); err != nil {
		return err
	}
	select {
	case <-q.Done():
		return q.Err()
	case <-ctx.Done():
	}
	// The worker may be past the point of no return: then it has to be left again.
	if !s.o.State.Withdraw(q) {
		<-q.Done()
		if q.Err() == nil {
			s.Abandon(code)
		}
	}
	return ctx.Err()
}

// enterNow is the worker's part: all up to the boundary is in A and durable.
func (s *Snapshots) enterNow(q *state.Entry) error {
	upTo, ok := s.o.State.BeginEntry(q)
	if !ok {
		return nil
	}
	if err := s.o.Home.Check(); err != nil {
		s.o.State.NotEntered(q)
		q.End(fmt.Errorf("enter snapshot mode: %w", s.o.State.Refused(err)))
		return err
	}
	err := s.o.Store.Sync() // the fsyncs that a failed pack owes, and removals by one that runs
	if err == nil {
		// Not before: the files that were put up to here are of the snapshot, and their next
		// versions must be of later seconds.
		err = s.RaiseFloor(q.Moment)
	}
	if err == nil {
		err = snapfile.Write(s.o.Home.FS, snapfile.Record{Code: snapfile.User(q.Code), Moment: q.Moment.UTC(), TID: upTo}, s.o.Home.Sync())
	}
	var failed error
	taken := true // no file claims a snapshot
	if err != nil {
		// No file may claim a snapshot while A changes.
		if rerr := snapfile.Remove(s.o.Home.FS, s.o.Home.Sync()); rerr != nil {
			err = errors.Join(err, rerr)
			if taken = !vfs.Passes(rerr); taken {
				failed = s.o.State.Fail(fmt.Errorf("enter snapshot mode: %w", err))
			}
		}
	}
	if err == nil || !taken {
		s.o.Store.UseB() // not before: a store that is not in snapshot mode tends to A
		s.modeMu.Lock()
		sublock := s.o.State.Entered(q, !taken)
		if cerr := sublock.Close(); cerr != nil { // it is free all the same
			s.modeMu.Say(slog.LevelWarn, "giving back the sublock", "err", cerr)
		}
		s.modeMu.Unlock()
	} else {
		s.o.State.NotEntered(q)
	}
	if err != nil {
		err = fmt.Errorf("enter snapshot mode: %w", s.o.State.Refused(err))
	} else {
		s.o.Log.Info("entered snapshot mode", "code", q.Code, "tid", upTo)
	}
	q.End(err)
	return failed
}

// stillHome returns the error of [home.Home.Check]. If HOME was changed from outside, the storage
// is read-only from then on.
func (s *Snapshots) stillHome() error {
	err := s.o.Home.Check()
	if errors.Is(err, zodb.ErrHomeChanged) {
		return s.o.State.Fail(err)
	}
	return err
}
