package hometest

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// Home holds the values that the original reads from a golden home once it is open: the journal is
// replayed and B is recombined.
type Home struct {
	Note     string `json:"note"`
	Class    string `json:"class"`
	Format   string `json:"format"`
	Identity string `json:"identity"` // empty in class Minimal

	XOID    zodb.OID `json:"x.oid"`
	XSerial zodb.TID `json:"x.serial"`
	XPacked zodb.TID `json:"x.packed"`

	Counts struct {
		ObjectRevisions int `json:"object_revisions"`
		OIDs            int `json:"oids"`
		Transactions    int `json:"transactions"`
	} `json:"counts"`

	Transactions []Transaction `json:"transactions"` // newest first
	// HistoryEnds is the first tid of the chain that has no file; 0 = the chain is whole.
	HistoryEnds zodb.TID             `json:"history_ends_at_missing_tid"`
	Objects     []Revision           `json:"objects"` // every revision file
	Current     map[zodb.OID]Current `json:"current"`
	// References has a key for each object that load can load.
	References map[zodb.OID][]zodb.OID `json:"references_of_current"`

	// Paths begin with A/, B/ or journal/.
	FilesInA           []string   `json:"files_in_A_after_opening"`
	OtherFilesInA      []string   `json:"other_files_in_A"` // -deleted
	TransactionsOnDisk []zodb.TID `json:"transaction_files_on_disk"`

	Before struct {
		Journal      []string `json:"journal"` // entries of journal/
		JournalFiles []string `json:"journal_files"`
		FilesInB     []string `json:"B_files"`
		Snapshot     *string  `json:"misc/snapshot"` // nil = no such file
	} `json:"on_disk_before_opening"`

	Pack          *Pack               `json:"pack"`           // packed, packed_twice
	TIndex        string              `json:"tindex"`         // backups
	BackupMembers map[string][]string `json:"backup_members"` // backups: by archive
	WhatsnewSince zodb.TID            `json:"whatsnew_since"` // replica_pending
	Whatsnew      []string            `json:"whatsnew_output"`
}

// Own holds the values that the build which made a golden home of this project read from it.
type Own struct {
	Home
	Blobs map[string]string `json:"blobs"` // SHA-256, by OID.TID
	// Undelete is the stamp of a pack that can be taken back, 0 = there is none; then there are the
	// revisions of BroughtBack.
	Undelete    int64      `json:"undelete"`
	BroughtBack []Revision `json:"brought_back"`
}

// Transaction is a transaction file. The MD5 is that of its header.
type Transaction struct {
	TID          zodb.TID   `json:"tid"`
	Previous     zodb.TID   `json:"prev_tid"`
	User         string     `json:"user"`
	Description  string     `json:"description"`
	Extension    string     `json:"extension"` // as Python prints it
	ExtensionHex string     `json:"extension_hex"`
	OIDs         []zodb.OID `json:"oids"` // in the order of the file
	MD5          string     `json:"md5"`
	FileSize     int        `json:"file_size"`
	FileSHA256   string     `json:"file_sha256"`
}

// Revision is an object file. Length and SHA256 are those of its data, the MD5
// is that of its header.
type Revision struct {
	File           string   `json:"file"` // relative to HOME
	OID            zodb.OID `json:"oid"`
	TID            zodb.TID `json:"tid"`
	Previous       zodb.TID `json:"prev_tid"`
	UndoFrom       zodb.TID `json:"undo_from"`
	MD5            string   `json:"md5"`
	Length         int      `json:"length"`
	SHA256         string   `json:"sha256"`
	UndoneCreation bool     `json:"undone_creation"`
}

// Current is the result of load. If Load is not “ok”, it is the name of a Python
// exception, and Length and SHA256 are not set.
type Current struct {
	Load   string   `json:"load"`
	Serial zodb.TID `json:"serial"`
	Length int      `json:"length"`
	SHA256 string   `json:"sha256"`
}

// Pack tells of the packs of a home. Fields that a home does not have are zero.
type Pack struct {
	StartedAt        float64               `json:"pack_started_at"` // seconds since 1970
	Time             float64               `json:"pack_time"`       // seconds since 1970
	FilesBefore      []string              `json:"files_before"`
	FilesAfter       []string              `json:"files_after"`
	FilesAfterFirst  []string              `json:"files_after_first"`
	FilesAfterSecond []string              `json:"files_after_second"`
	UndoableBefore   []zodb.TID            `json:"undoable_tids_before"` // newest first
	UndoableAfter    []zodb.TID            `json:"undoable_tids_after"`  // newest first
	PreviousBefore   map[zodb.TID]zodb.TID `json:"transaction_prev_pointers_before"`
}

// Corrupt tells of a golden home with a defect. Where the original loads the
// same as from the home Base, nothing is listed.
type Corrupt struct {
	Base    string   `json:"base"`
	What    string   `json:"what"`
	Defects []Defect `json:"defects"`

	Open            string   `json:"original_open"` // “ok”, or the name of an exception
	LastTransaction zodb.TID `json:"original_last_transaction"`
	Check           struct {
		Exit     *int     `json:"exit"` // nil = it never ended
		Findings []string `json:"findings"`
	} `json:"original_checkds"`
	Load       map[zodb.OID]Loaded `json:"original_load_differs_from_base"`
	LoadSerial map[string]string   `json:"original_loadSerial_differs_from_base"` // oid.tid in lower case: exception, or “other data”
	UndoLog    UndoLog             `json:"original_undo_log"`
}

// Defect is a finding of a good checker. Fields that do not apply are zero.
type Defect struct {
	Kind string   `json:"kind"`
	File string   `json:"file"` // relative to HOME
	OID  zodb.OID `json:"oid"`
	TID  zodb.TID `json:"tid"`
	From zodb.OID `json:"from"` // the object that refers to a missing one
}

// Loaded is the result of load from a home with a defect: an exception, or another
// revision.
type Loaded struct {
	Exception string
	Serial    zodb.TID
	SHA256    string
}

// UnmarshalJSON reads the name of an exception, or an object.
func (l *Loaded) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte(`"`)) {
		return json.Unmarshal(b, &l.Exception)
	}
	var revision struct {
		Serial zodb.TID `json:"serial"`
		SHA256 string   `json:"sha256"`
	}
	err := json.Unmarshal(b, &revision)
	l.Serial, l.SHA256 = revision.Serial, revision.SHA256
	return err
}

// UndoLog is the result of the undo log from a home with a defect: the tids, or in
// words that they are all there, or an exception.
type UndoLog struct {
	TIDs []zodb.TID // newest first
	Text string
}

// UnmarshalJSON reads a text, or a list of tids.
func (u *UndoLog) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte(`"`)) {
		return json.Unmarshal(b, &u.Text)
	}
	return json.Unmarshal(b, &u.TIDs)
}

// Expected returns the values to be read from a golden home without a defect.
func Expected(t testing.TB, name string) *Home {
	t.Helper()
	h := new(Home)
	unmarshal(t, name, h)
	return h
}

// ExpectedOwn returns the values to be read from a golden home of this project, own/NAME.
func ExpectedOwn(t testing.TB, name string) *Own {
	t.Helper()
	h := new(Own)
	unmarshal(t, name, h)
	return h
}

// ExpectedCorrupt returns the defects of a golden home, corrupt/NAME.
func ExpectedCorrupt(t testing.TB, name string) *Corrupt {
	t.Helper()
	c := new(Corrupt)
	unmarshal(t, name, c)
	return c
}

// unmarshal refuses fields that v does not have, so that nothing that the
// originals told gets lost.
func unmarshal(t testing.TB, name string, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(Golden(t, "homes/"+name+".json.gz")))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
