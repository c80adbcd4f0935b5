package ops

import (
	"fmt"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/zodb"
)

// Code says why a server is not ready; one word for programs.
type Code string

// The codes.
const (
	Starting Code = "starting" // a storage is not open yet, or the server is not
	Draining Code = "draining" // the server is being stopped
	Failed   Code = "failed"   // a storage is read-only after a failure
	DiskFull Code = "disk_full"
	Scarce   Code = "scarce" // a storage is out of descriptors or memory
	Stuck    Code = "stuck"  // a storage does not answer, or a commit does not end
	// SnapshotLong and LowSpace are warnings: they keep nothing from being ready.
	SnapshotLong Code = "snapshot_long"
	LowSpace     Code = "low_space"
)

// Warning reports whether a server is ready all the same.
func (c Code) Warning() bool { return c == SnapshotLong || c == LowSpace }

// Reason is why a server is not ready, or a warning.
type Reason struct {
	Code    Code   `json:"code"`
	Storage string `json:"storage,omitempty"` // empty: the server itself
	Detail  string `json:"detail,omitempty"`
}

// stuckSeconds is how long a commit may take before the storage is taken for stuck.
const stuckSeconds = 10

// NotReady returns the reasons why an open storage is not ready: none if it can be written to, or is
// read-only on request; and warnings.
func NotReady(storage string, st zodb.Status) []Reason {
	var reasons []Reason
	if st.Failure != "" {
		reasons = append(reasons, Reason{Failed, storage, st.Failure})
	}
	if st.Trouble != "" {
		code := DiskFull
		if st.TroubleKind == zodb.TroubleScarce {
			code = Scarce
		}
		reasons = append(reasons, Reason{code, storage, st.Trouble})
	}
	if st.CommitSeconds >= stuckSeconds {
		reasons = append(reasons, Reason{Stuck, storage, fmt.Sprintf("a commit has been waiting for the disk for %.0f seconds", st.CommitSeconds)})
	}
	if m := st.SnapshotMode; m != nil && m.Long {
		detail := fmt.Sprintf("in snapshot mode (%s) since %s, and %s committed since; no pack removes anything meanwhile",
			st.Snapshot, m.Since.Format("2006-01-02 15:04:05 MST"), human.Plural(m.Newer, "transaction was", "transactions were"))
		reasons = append(reasons, Reason{SnapshotLong, storage, detail})
	}
	if st.LowSpace != "" {
		reasons = append(reasons, Reason{LowSpace, storage, st.LowSpace})
	}
	return reasons
}
