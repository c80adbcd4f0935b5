package engine

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/dirstorage/dirstorage/zodb"
)

// Status returns a description of the storage. It costs nothing.
func (s *Storage) Status() zodb.Status {
	st := zodb.Status{
		Home: s.home.FS.Path("."), Identity: s.home.Identity, Class: zodb.Class(s.home.Settings.Storage.ClassName),
		Format: string(s.home.Settings.Structure.Format), Version: s.home.Settings.Structure.Version, PID: os.Getpid(), MaxOID: s.oids.Highest(), Packed: s.Packed(),
		RolledForward: s.rolled, Flushes: s.worker.Flushes(), Counts: s.Counts(), Damaged: s.store.Damaged(), LostLists: s.store.LostLists(),
	}
	txns := s.txns.Report()
	st.OpenTransactions = txns.Open
	if !txns.CommitBegun.IsZero() {
		st.CommitSeconds = s.o.Clock().Sub(txns.CommitBegun).Seconds()
	}
	if s.journal != nil {
		stats := s.journal.Stats()
		st.JournalBytes, st.JournalSyncs = stats.Bytes, stats.Syncs
	}
	if space, err := s.home.FS.Space(); err == nil { // not known is zero
		st.Space = zodb.Space(space)
	}
	if p := s.PackProgress(); p.Phase != "" {
		st.Pack = &p
	}
	if removed, inside := s.store.Removed(); inside {
		st.Removed = removed.Public(inside, s.home.Settings.Storage.DelayDelete)
	}
	st.GaveBackBytes = s.worker.Reclaimed().Bytes
	r := s.state.Report(s.txns.SmallTransaction())
	st.LastTID, st.Snapshot, st.SnapshotMode = r.LastTID, r.Snapshot, r.SnapshotMode
	st.UnflushedTransactions, st.UnflushedFiles = r.UnflushedTransactions, r.UnflushedFiles
	st.ReadOnly = s.o.ReadOnly || r.Failure != nil
	if r.Failure != nil {
		st.Failure = r.Failure.Error()
	}
	st.LowSpace, st.PassingErrors = r.LowSpace, r.PassingErrors
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
