package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/zodb"
)

// The documents of --json that have no other home. Their fields are in docs/cli.md, as
// those of all others: a test compares them.

// printJSON writes one indented document.
func (e *env) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = e.Stdout.Write(append(harmless(b), '\n'))
	return err
}

// harmless escapes the control characters of the second half of Latin-1, and DEL, which JSON takes as
// they are and a terminal for commands. They stand within strings alone.
func harmless(b []byte) []byte {
	control := func(r rune) bool { return r >= 0x7f && r < 0xa0 }
	if bytes.IndexFunc(b, control) < 0 {
		return b
	}
	var out []byte
	for _, r := range string(b) {
		if control(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// printLine writes one document on a line, of which a command prints many.
func (e *env) printLine(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = e.Stdout.Write(append(harmless(b), '\n'))
	return err
}

// createReport is the output of create.
type createReport struct {
	Home   string `json:"home"`
	Class  string `json:"class"`
	Format string `json:"format"`
}

// filesLine is the line of files for one file.
type filesLine struct {
	Path string `json:"path"` // relative to HOME
}

// configReport is the output of config.
type configReport struct {
	Settings []config.Setting `json:"settings"`
	Warnings []string         `json:"warnings"`
}

// checkSummary is the last line of check.
type checkSummary struct {
	Summary check.Summary `json:"summary"`
	Refs    *indexWritten `json:"refs,omitempty"` // the index of references, if it was written
}

// recoverReport is the output of recover.
type recoverReport struct {
	RolledForward int      `json:"rolled_forward"` // transactions
	LastTID       zodb.TID `json:"last_tid"`
}

// leaveReport is the output of snapshot leave.
type leaveReport struct {
	Left bool `json:"left"` // false: the storage was closed cleanly, there was nothing to leave
}

// snapshotReport is the output of snapshot status.
type snapshotReport struct {
	Snapshot bool     `json:"snapshot"`
	State    string   `json:"state"`
	Running  bool     `json:"running"`
	LastTID  zodb.TID `json:"last_tid"`
}

// listReport is the output of backup list.
type listReport struct {
	Storages []listedStorage   `json:"storages"`
	Damaged  map[string]string `json:"damaged"` // why manifests can't be used, by the names of backups
}

// verifiedBackup is the part of a verifyReport about one backup.
type verifiedBackup struct {
	backup.Outcome
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// verifyReport is the output of backup verify.
type verifyReport struct {
	Level   backup.Level     `json:"level"`
	Backups []verifiedBackup `json:"backups"`
}

// restorePlan is the output of restore --dry-run.
type restorePlan struct {
	To      zodb.TID           `json:"to"`
	Cut     bool               `json:"cut"`   // of the last backup, later transactions are left out
	Bytes   int64              `json:"bytes"` // to read
	Backups []*backup.Manifest `json:"backups"`
}

// refsIndexReport is the output of refs --write-index.
type refsIndexReport struct {
	indexWritten
	Objects int64 `json:"objects"`
}

// shownValue is the output of show for a file that holds one value.
type shownValue struct {
	Kind   string    `json:"kind"`
	OID    *zodb.OID `json:"oid,omitempty"`
	TID    *zodb.TID `json:"tid,omitempty"`
	Serial *zodb.TID `json:"serial,omitempty"`
	Size   *int64    `json:"size,omitempty"`
	Sums   []string  `json:"sums,omitempty"`  // of a blob, one of each kind
	Lines  []string  `json:"lines,omitempty"` // of a file of text
}

// shownSegment is the output of show for a segment of the journal.
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
