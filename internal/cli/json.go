package cli

import (
	"encoding/json"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/zodb"
)

// The documents of --json that have no other home. Their fields are in docs/cli.md, as
// those of all others: a test compares them.

// printJSON writes one indented document.
func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printLine writes one document on a line, of which a command prints many.
func (e *env) printLine(v any) error { return json.NewEncoder(e.Stdout).Encode(v) }

// createReport is what create prints.
type createReport struct {
	Home   string `json:"home"`
	Class  string `json:"class"`
	Format string `json:"format"`
}

// filesLine is what files prints of a file.
type filesLine struct {
	Path string `json:"path"` // relative to HOME
}

// configReport is what config prints.
type configReport struct {
	Settings []config.Setting `json:"settings"`
	Warnings []string         `json:"warnings"`
}

// checkSummary is the last line of check.
type checkSummary struct {
	Summary check.Summary `json:"summary"`
	Refs    *indexWritten `json:"refs,omitempty"` // the index of references, if it was written
}

// recoverReport is what recover prints.
type recoverReport struct {
	RolledForward int      `json:"rolled_forward"` // transactions
	LastTID       zodb.TID `json:"last_tid"`
}

// leaveReport is what snapshot leave prints.
type leaveReport struct {
	Left bool `json:"left"` // false: the storage was closed cleanly, there was nothing to leave
}

// snapshotReport is what snapshot status prints.
type snapshotReport struct {
	Snapshot bool     `json:"snapshot"`
	State    string   `json:"state"`
	Running  bool     `json:"running"`
	LastTID  zodb.TID `json:"last_tid"`
}

// listReport is what backup list prints.
type listReport struct {
	Storages []listedStorage   `json:"storages"`
	Damaged  map[string]string `json:"damaged"` // why manifests can't be used, by the names of backups
}

// verifiedBackup is what backup verify prints of a backup.
type verifiedBackup struct {
	backup.Outcome
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// verifyReport is what backup verify prints.
type verifyReport struct {
	Level   backup.Level     `json:"level"`
	Backups []verifiedBackup `json:"backups"`
}

// restorePlan is what restore --dry-run prints.
type restorePlan struct {
	To      zodb.TID           `json:"to"`
	Cut     bool               `json:"cut"`   // of the last backup, later transactions are left out
	Bytes   int64              `json:"bytes"` // to read
	Backups []*backup.Manifest `json:"backups"`
}

// refsIndexReport is what refs --write-index prints.
type refsIndexReport struct {
	indexWritten
	Objects int64 `json:"objects"`
}

// shownValue is what show prints of a file that holds one value.
type shownValue struct {
	Kind   string    `json:"kind"`
	OID    *zodb.OID `json:"oid,omitempty"`
	TID    *zodb.TID `json:"tid,omitempty"`
	Serial *zodb.TID `json:"serial,omitempty"`
	Size   *int64    `json:"size,omitempty"`
	Sums   []string  `json:"sums,omitempty"`  // of a blob, one of each kind
	Lines  []string  `json:"lines,omitempty"` // of a file of text
}

// shownSegment is what show prints of a segment of the journal.
type shownSegment struct {
	Kind         string     `json:"kind"`
	Segment      string     `json:"segment"`
	Transactions []shownTxn `json:"transactions"`
}

// shownTxn is a transaction in the journal.
type shownTxn struct {
	TID         zodb.TID   `json:"tid"`
	User        string     `json:"user"`
	Description string     `json:"description"`
	OIDs        []zodb.OID `json:"oids"`
}
