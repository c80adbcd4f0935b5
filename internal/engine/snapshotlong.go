package engine

import (
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// SnapshotStatus describes the snapshot mode that a storage is in.
type SnapshotStatus struct {
	// Code is the one under which it was entered; empty, if the storage was opened
	// while somebody held misc/sublock, or is being left.
	Code string `json:"code,omitempty"`
	// Since is the moment before it was asked for, or the one of the open.
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"` // since then
	// Long: for longer than Options.SnapshotLimit.
	Long bool `json:"long,omitempty"`
	// TID is the last transaction in A.
	TID zodb.TID `json:"tid"`
	// Newer is how many transactions were committed later, so are in no copy of A.
	// After an open in snapshot mode it does not count those that are in B already.
	Newer int64 `json:"newer_transactions"`
}

// snapshotStatus returns nil if the storage is not in snapshot mode. mu must be held.
func (s *Storage) snapshotStatus() *SnapshotStatus {
	if s.snap.mode == modeNone || s.o.ReadOnly {
		return nil
	}
	spent := s.o.Clock().Sub(s.snap.since)
	return &SnapshotStatus{
		Code: s.snap.code, Since: s.snap.since.UTC(), Seconds: spent.Seconds(), TID: s.snap.tid, Newer: s.snap.newer,
		Long: s.o.SnapshotLimit > 0 && spent >= s.o.SnapshotLimit,
	}
}

// describeMode says by whom and when the mode was entered. mu must be held, and
// the storage be in one.
func (s *Storage) describeMode() string {
	since := s.snap.since.Format("2006-01-02 15:04:05 MST")
	switch s.snap.mode {
	case modeUser:
		gone := ""
		if s.snap.abandoned != "" {
			gone = "; whoever entered it is gone, and it ends when misc/sublock is free"
		}
		return fmt.Sprintf("it was entered as %q at %s, and %d transactions were committed since%s", s.snap.code, since, s.snap.newer, gone)
	case modeStartup:
		return fmt.Sprintf("the storage was opened at %s while somebody held misc/sublock; it ends when that is free", since)
	}
	return "it is being left: somebody still holds misc/sublock"
}

func (s *Storage) inModeAlready() error {
	text := s.describeMode()
	if s.snap.mode == modeUser && s.snap.abandoned == "" {
		text += ". If it is forgotten: dirstorage snapshot leave " + s.fs.Path(".")
	}
	return fmt.Errorf("%w: the storage is in it already, %s: %s", ErrSnapshotMode, s.snap.String(), text)
}

// beginStartup completes what is known of a start in snapshot mode: A is left as
// soon as it can be, so nobody else is to be told that it is a snapshot.
func (s *Storage) beginStartup() error {
	last, err := s.store.LastInA()
	if err != nil {
		return err
	}
	s.snap.tid = last
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	s.closeSnapshot()
	return nil
}

// untilLong is how long it takes until the log has to say that the storage is in
// snapshot mode for long. mu must be held.
func (s *Storage) untilLong(now time.Time) time.Duration {
	const never = time.Hour
	if s.snap.mode == modeNone || s.snap.told || s.o.SnapshotLimit < 0 {
		return never
	}
	return min(never, max(0, s.o.SnapshotLimit-now.Sub(s.snap.since)))
}

// tellLong says in the log, once, that the storage is in snapshot mode for long.
func (s *Storage) tellLong() {
	s.mu.Lock()
	st := s.snapshotStatus()
	tell := st != nil && st.Long && !s.snap.told
	s.snap.told = s.snap.told || tell
	text := ""
	if tell {
		text = s.describeMode()
	}
	s.mu.Unlock()
	if tell {
		s.log.Warn("in snapshot mode for long: B grows, no pack removes anything, and backups of other tools miss what was committed since",
			"state", text, "since", st.Since, "newer", st.Newer, "to do", "dirstorage snapshot leave "+s.fs.Path("."))
	}
}

// choreWaits says what keeps the worker from a pack's work on A: who has brought the
// storage into snapshot mode, and when; empty, if nothing does.
func (s *Storage) choreWaits() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.worker.chore == nil || s.snap.mode == modeNone {
		return ""
	}
	return "the end of snapshot mode: " + s.describeMode()
}
