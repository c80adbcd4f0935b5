package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Status describes a storage at one moment.
type Status struct {
	Home     string   `json:"home"`
	Identity string   `json:"identity"`
	Class    Class    `json:"class"`
	Format   string   `json:"format"`
	PID      int      `json:"pid"`
	LastTID  zodb.TID `json:"last_tid"`
	MaxOID   zodb.OID `json:"max_oid"`
	Packed   zodb.TID `json:"packed"`
	// Snapshot is the state of snapshot mode: "", "startup", "user/CODE", "leaving" or
	// "recombining".
	Snapshot              string `json:"snapshot"`
	OpenTransactions      int    `json:"open_transactions"`
	UnflushedTransactions int    `json:"unflushed_transactions"`
	UnflushedFiles        int    `json:"unflushed_files"`
	JournalBytes          int64  `json:"journal_bytes"`
	JournalSyncs          int64  `json:"journal_syncs"`
	Flushes               int64  `json:"flushes"`
	RolledForward         int    `json:"rolled_forward"` // transactions, at open
	// CommitSeconds is how long the commit that is under way has taken; 0: there is none.
	CommitSeconds float64 `json:"commit_seconds,omitempty"`
	ReadOnly      bool    `json:"read_only"`
	Failure       string  `json:"failure,omitempty"` // first cause of having become read-only
	// Trouble is what keeps transactions from being flushed or, on a full disk, from being
	// taken, or B from being moved into A, and passes by itself: it is tried again and again. TroubleKind is TroubleDisk
	// or TroubleScarce then.
	Trouble     string      `json:"trouble,omitempty"`
	TroubleKind TroubleKind `json:"trouble_kind,omitempty"`
	// PassingErrors is how often something could not be done since the open because of
	// what passes by itself: by the storage, which does it later, or for a client, who was told.
	PassingErrors int64 `json:"passing_errors"`
	// LowSpace says what is low on the file system, if Options.LowSpace is set.
	LowSpace string `json:"low_space,omitempty"`
	Counts   Counts `json:"counts"`
	// SnapshotMode describes the snapshot mode that it is in; nil: it is in none.
	SnapshotMode *SnapshotStatus `json:"snapshot_mode,omitempty"`
	// Pack is how far the pack has come that is under way; nil: there is none.
	Pack  *PackProgress `json:"pack,omitempty"`
	Space vfs.Space     `json:"space"`
}

// Status returns a description of the storage. It costs nothing.
func (s *Storage) Status() Status {
	st := Status{
		Home: s.fs.Path("."), Identity: s.identity, Class: Class(s.settings.Storage.ClassName),
		Format: string(s.settings.Structure.Format), PID: os.Getpid(), MaxOID: s.highestOID(), Packed: s.packed(),
		OpenTransactions: s.txns.count(), RolledForward: s.rolled, Flushes: s.flushes.Load(), Counts: s.Counts(),
		PassingErrors: s.passing.Load(),
	}
	if begun := s.commits.since.Load(); begun != 0 {
		st.CommitSeconds = s.o.Clock().Sub(time.Unix(0, begun)).Seconds()
	}
	if s.journal != nil {
		stats := s.journal.Stats()
		st.JournalBytes, st.JournalSyncs = stats.Bytes, stats.Syncs
	}
	if space, err := s.fs.Space(); err == nil { // not known is zero
		st.Space = space
	}
	if p := s.PackProgress(); p.Phase != "" {
		st.Pack = &p
	}
	r := s.state.Report(s.smallTransaction())
	st.LastTID, st.Snapshot, st.SnapshotMode = r.LastTID, r.Snapshot, r.SnapshotMode
	st.UnflushedTransactions, st.UnflushedFiles = r.UnflushedTransactions, r.UnflushedFiles
	st.ReadOnly = s.o.ReadOnly || r.Failure != nil
	if r.Failure != nil {
		st.Failure = r.Failure.Error()
	}
	st.LowSpace = r.LowSpace
	if r.Trouble != nil {
		st.Trouble, st.TroubleKind = r.Trouble.Error(), r.TroubleKind
	}
	return st
}

// StatusJSON returns [Storage.Status] as one JSON object, for the control socket.
func (s *Storage) StatusJSON() ([]byte, error) {
	b, err := json.Marshal(s.Status())
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return b, nil
}

// FilesOf returns the names relative to HOME of what a transaction has put
// into A, once it is flushed and no snapshot is on: its own file, the
// revisions and blobs, and the pointers.
func (s *Storage) FilesOf(t *zodb.Transaction, hasBlob func(zodb.OID) bool) []string {
	return s.store.FilesOf(t.TID, t.OIDs, hasBlob)
}
