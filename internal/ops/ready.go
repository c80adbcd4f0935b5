package ops

import (
	"fmt"

	"github.com/dirstorage/dirstorage"
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
)

// Reason is why a server is not ready.
type Reason struct {
	Code    Code   `json:"code"`
	Storage string `json:"storage,omitempty"` // empty: the server itself
	Detail  string `json:"detail,omitempty"`
}

// stuckSeconds is how long a commit may take before the storage is taken for stuck.
const stuckSeconds = 10

// Judge returns what keeps a storage that is open from being ready: nothing if
// it can be written to, or is read-only because that was asked for.
func Judge(storage string, st dirstorage.Status) []Reason {
	var reasons []Reason
	if st.Failure != "" {
		reasons = append(reasons, Reason{Failed, storage, st.Failure})
	}
	if st.Trouble != "" {
		code := DiskFull
		if st.TroubleKind == dirstorage.TroubleScarce {
			code = Scarce
		}
		reasons = append(reasons, Reason{code, storage, st.Trouble})
	}
	if st.CommitSeconds >= stuckSeconds {
		reasons = append(reasons, Reason{Stuck, storage, fmt.Sprintf("a commit has been waiting for the disk for %.0f seconds", st.CommitSeconds)})
	}
	return reasons
}
