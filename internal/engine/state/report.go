package state

import (
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/zodb"
)

// Report describes a state at one moment.
type Report struct {
	LastTID               zodb.TID
	Snapshot              string
	SnapshotMode          *zodb.SnapshotStatus // nil: it is in none
	UnflushedTransactions int
	UnflushedFiles        int
	Failure               error
	PassingErrors         int64
	LowSpace              string
	Trouble               error // keeps the worker from its work, or commits from being taken
	TroubleKind           zodb.TroubleKind
	Demand                Demand
}

// filesLeft is how many files the unflushed transactions will become. The part of a batch that a
// running flush has done does not count. mu must be held.
func (s *State) filesLeft() int {
	done := float64(s.pace.flushing.files) * (1 - s.Progress.Left())
	return max(0, s.index.files-int(done))
}

// Report returns all of it. small is the footprint of a small transaction.
func (s *State) Report(small Footprint) Report {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := Report{LastTID: s.last, Snapshot: s.snap.String(), SnapshotMode: s.snapshotStatus(),
		UnflushedTransactions: len(s.index.queue), UnflushedFiles: s.filesLeft(), Failure: s.failure, LowSpace: s.low,
		PassingErrors: s.passing.Load(),
		Demand:        Demand{Unflushed: s.index.room, Promised: s.room.promised, Waiting: len(s.room.line.claims), Memory: s.memoryUsed(), PromisedMemory: s.room.memory}}
	if cause := s.trouble.cause; cause != nil {
		r.Trouble, r.TroubleKind = cause, troubleKind(cause)
	} else if s.logFull != nil {
		r.Trouble, r.TroubleKind = s.logFull, zodb.TroubleDisk
	} else if s.refuse && !s.o.ReadOnly {
		r.Trouble, r.TroubleKind = errReserved(), zodb.TroubleDisk
	} else if !s.room.at.IsZero() && len(s.index.queue) == 0 && !s.room.fits(s.index.room, small) {
		r.Trouble, r.TroubleKind = s.errNoRoom(small), zodb.TroubleDisk
	}
	return r
}

// Demand is the use of the bounded resources.
type Demand struct {
	Unflushed Footprint // upper bound of the space of all files whose transactions are in the journal
	Promised  Footprint // to transactions that are not in the journal yet
	Waiting   int       // transactions that wait for room or memory
	Memory    float64   // part of the memory for the index
	// PromisedMemory is that of large transactions that are not in the journal yet, in bytes.
	PromisedMemory int64
}

// String is the state of snapshot mode: “”, “startup”, “user/CODE”, “leaving”, or
// “recombining” while B is merged into A.
func (s *State) String() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.snap.String()
}

// snapshotStatus returns nil if the storage is not in snapshot mode. mu must be held.
func (s *State) snapshotStatus() *zodb.SnapshotStatus {
	if s.snap.mode == ModeNone || s.o.ReadOnly {
		return nil
	}
	spent := s.o.Clock().Sub(s.snap.since)
	return &zodb.SnapshotStatus{
		Code: s.snap.code, Since: s.snap.since.UTC(), Seconds: spent.Seconds(), TID: s.snap.tid, Newer: s.snap.newer,
		Long: s.o.SnapshotLimit > 0 && spent >= s.o.SnapshotLimit,
	}
}

// describeMode says by whom and when the mode was entered. mu must be held, and
// the storage be in one.
func (s *State) describeMode() string {
	since := s.snap.since.Format("2006-01-02 15:04:05 MST")
	switch s.snap.mode {
	case ModeUser:
		gone := ""
		if s.snap.abandoned != "" {
			gone = "; the tool that entered it is gone, and it ends when misc/sublock is free"
		}
		return fmt.Sprintf("it was entered as %q at %s, and %s committed since%s", s.snap.code, since, human.Plural(s.snap.newer, "transaction was", "transactions were"), gone)
	case ModeStartup:
		if s.snap.reason == DiskFull {
			return fmt.Sprintf("the storage was opened at %s, when the disk was full; it ends when there is room and misc/sublock is free", since)
		}
		return fmt.Sprintf("the storage was opened at %s while somebody held misc/sublock; it ends when that is free", since)
	}
	return "it is being left: somebody still holds misc/sublock"
}

// WhyStill returns why A stands still since the open: an error that matches zodb.ErrDiskFull, or
// zodb.ErrLocked if somebody holds the sublock; nil if it does not.
func (s *State) WhyStill() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.snap.mode != ModeStartup:
		return nil
	case s.snap.reason == DiskFull:
		return fmt.Errorf("%w: there was no room to open %s for changes of A", zodb.ErrDiskFull, s.o.Home)
	}
	return fmt.Errorf("%w: somebody holds %s/misc/sublock, so A must not change", zodb.ErrLocked, s.o.Home)
}

// inModeAlready is the error for a snapshot that is asked for while there is one. mu must
// be held.
func (s *State) inModeAlready() error {
	text := s.describeMode()
	if s.snap.mode == ModeUser && s.snap.abandoned == "" {
		text += ". If it is forgotten: dirstorage snapshot leave " + s.o.Home
	}
	return fmt.Errorf("%w: the storage is in it already, %s: %s", zodb.ErrSnapshotMode, s.snap.String(), text)
}

// untilLong is how long it takes until the log has to say that the storage is in
// snapshot mode for long. mu must be held.
func (s *State) untilLong(now time.Time) time.Duration {
	const never = time.Hour
	if s.snap.mode == ModeNone || s.snap.told || s.o.SnapshotLimit < 0 {
		return never
	}
	return min(never, max(0, s.o.SnapshotLimit-now.Sub(s.snap.since)))
}

// LastsLong describes a snapshot mode that lasts for longer than the limit; nil if it does
// not, or if that was returned before.
func (s *State) LastsLong() (st *zodb.SnapshotStatus, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st = s.snapshotStatus()
	if st == nil || !st.Long || s.snap.told {
		return nil, ""
	}
	s.snap.told = true
	return st, s.describeMode()
}
