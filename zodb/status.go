package zodb

import (
	"time"
)

// Class is how much a storage keeps.
type Class string

// The two classes. Full has history and undo; Minimal keeps the current
// revision of each object only.
const (
	ClassFull    Class = "Full"
	ClassMinimal Class = "Minimal"
)

// Status describes a storage at one moment.
type Status struct {
	Home     string `json:"home"`
	Identity string `json:"identity"`
	Class    Class  `json:"class"`
	Format   string `json:"format"`
	// Version is structure/version of the settings; "" from a server of an earlier build.
	Version string `json:"version,omitempty"`
	PID     int    `json:"pid"`
	LastTID TID    `json:"last_tid"`
	MaxOID  OID    `json:"max_oid"`
	Packed  TID    `json:"packed"`
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
	// Trouble is a passing condition that keeps transactions from being flushed or, on a full disk,
	// from being taken, or B from being moved into A. The work is tried again and again.
	// TroubleKind is TroubleDisk or TroubleScarce then.
	Trouble     string      `json:"trouble,omitempty"`
	TroubleKind TroubleKind `json:"trouble_kind,omitempty"`
	// PassingErrors counts operations since the open that failed for a reason that passes by
	// itself: of the storage, which repeats them later, or for a client, which got the error.
	PassingErrors int64 `json:"passing_errors"`
	// Damaged are files in HOME that the open, or the care for files, found damaged and leaves alone:
	// bundles that are not read whole, or not merged any more. A directory of bundles means that some
	// of them are missing, or contradict each other.
	Damaged []string `json:"damaged,omitempty"`
	// LostLists are files in HOME with removals from bundles that are missing: members that packs removed
	// may be there again.
	LostLists []string `json:"lost_lists,omitempty"`
	// LowSpace says which resource of the file system is low, if Options.LowSpace is set.
	LowSpace string `json:"low_space,omitempty"`
	Counts   Counts `json:"counts"`
	// SnapshotMode describes the snapshot mode that it is in; nil: it is in none.
	SnapshotMode *SnapshotStatus `json:"snapshot_mode,omitempty"`
	// Pack is how far the pack has come that is under way; nil: there is none.
	Pack  *PackProgress `json:"pack,omitempty"`
	Space Space         `json:"space"`
	// Removed is the space of removals inside bundles that is not given back yet, without that of blobs;
	// nil: it is not known without a look at every file, as in a format of a file for each revision.
	Removed *Removed `json:"removed,omitempty"`
	// GaveBackBytes is the space that the storage has given back since its open, by writing bundles
	// again.
	GaveBackBytes int64 `json:"gave_back_bytes,omitempty"`
}

// Counts is how much a storage holds. Sizes are those of the files, without the overhead of the
// file system.
type Counts struct {
	Objects      int64 `json:"objects"` // with a pointer, also those that were deleted and not yet packed away
	Revisions    int64 `json:"revisions"`
	Transactions int64 `json:"transactions"`
	Bytes        int64 `json:"bytes"` // of revisions, transactions and blobs
	BlobBytes    int64 `json:"blob_bytes"`
	// Exact is false if nothing was counted before the storage was first opened
	// here. Objects is then the highest oid plus one, which is never too small,
	// and the rest counts only later additions.
	Exact bool `json:"exact"`
}

// EstimateDisk estimates the room of the counted files on the disk, in a format with a file for each
// revision: at least a block each. Files that packs have put aside are not counted.
func (n Counts) EstimateDisk() int64 {
	const block = 4 << 10
	records, bytes := n.Revisions+n.Transactions, n.Bytes-n.BlobBytes
	return n.Objects*block + max(records*block, bytes+records*block/2) + n.BlobBytes
}

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
	TID TID `json:"tid"`
	// Newer is how many transactions were committed later, so are in no copy of A.
	// After an open in snapshot mode it does not count those that are in B already.
	Newer int64 `json:"newer_transactions"`
}

// TroubleKind is the resource that is lacking.
type TroubleKind string

// The kinds of trouble.
const (
	TroubleDisk   TroubleKind = "disk_full"
	TroubleScarce TroubleKind = "scarce" // descriptors or memory
)

// Space is the room left on a file system. Inodes is 0 where it has no limit; all fields are 0
// where the room is unknown.
type Space struct {
	FreeBytes   uint64 `json:"free_bytes"`
	TotalBytes  uint64 `json:"total_bytes"`
	FreeInodes  uint64 `json:"free_inodes"`
	TotalInodes uint64 `json:"total_inodes"`
}
