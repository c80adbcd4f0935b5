package check

import (
	"encoding/json"

	"github.com/dirstorage/dirstorage/zodb"
)

// Kind classifies a finding. The strings are stable: scripts compare
// them. New ones may be added.
type Kind string

// Kinds of findings about one revision of an object.
const (
	ObjectMagic     Kind = "object-magic"
	ObjectLength    Kind = "object-length"
	ObjectChecksum  Kind = "object-checksum"
	ObjectOID       Kind = "object-oid"
	ObjectSerial    Kind = "object-serial"
	ObjectUndoFrom  Kind = "object-undo-from"    // it is not a copy of an older revision of the object, as it says
	ObjectNotPickle Kind = "object-not-a-pickle" // the data are not well-formed pickles
	// HistoryNotBackwards: the previous revision is not older.
	HistoryNotBackwards Kind = "history-not-backwards"
	// RevisionMissing: a pointer, a later revision or a transaction names it, and
	// pack can't have removed it.
	RevisionMissing Kind = "revision-missing"
	// RevisionNotInHistory: no later revision leads to it.
	RevisionNotInHistory Kind = "revision-not-in-history"
	// RevisionNotListed: its transaction does not list its object.
	RevisionNotListed Kind = "revision-not-listed"
)

// Kinds of findings about pointers, references and blobs.
const (
	// PointerMissing: there are revisions, and nobody refers to the object. It is a
	// note if an interrupted pack can have left them.
	PointerMissing   Kind = "pointer-missing"
	PointerMagic     Kind = "pointer-magic"
	PointerLength    Kind = "pointer-length"
	PointerNotNewest Kind = "pointer-not-newest"
	// RootMissing: there are objects, and object 0 does not exist. It is a warning if nothing says that
	// it ever did.
	RootMissing Kind = "root-missing"
	// DanglingReference is a note if only objects that nothing reaches refer to it,
	// and an interrupted pack can have left them.
	DanglingReference Kind = "dangling-reference"
	BlobMissing       Kind = "blob-missing"
	BlobChecksum      Kind = "blob-checksum"
	// BlobWithoutRevision: the revision is not there, or has no blob.
	BlobWithoutRevision Kind = "blob-without-revision"
)

// Kinds of findings about transactions.
const (
	TransactionMagic    Kind = "transaction-magic"
	TransactionLength   Kind = "transaction-length"
	TransactionTID      Kind = "transaction-tid"
	TransactionChecksum Kind = "transaction-checksum"
	TransactionFields   Kind = "transaction-fields" // lengths inside do not fit, or reserved bytes are not zero
	// TransactionNotBackwards: the previous transaction is not older.
	TransactionNotBackwards Kind = "transaction-not-backwards"
	// TransactionMissing: the next one, a revision or x.serial names it, and pack
	// can't have removed it.
	TransactionMissing Kind = "transaction-missing"
	// TransactionNotInChain: no later transaction leads to it.
	TransactionNotInChain Kind = "transaction-not-in-chain"
	// TransactionListsMissingRevision: for an object that has no history at all,
	// or whose history does not go through that revision.
	TransactionListsMissingRevision Kind = "transaction-lists-missing-revision"
	// RevisionWithoutTransaction: there are revisions, newer than any pack, of a
	// transaction of which nothing else is known.
	RevisionWithoutTransaction Kind = "revision-without-transaction"
)

// Kinds of findings about the files of the format bundled. Path is the bundle, or the gone
// list.
const (
	// BundleIndex: the index, or the footer, is damaged, or does not fit the file. The members
	// are read without it.
	BundleIndex Kind = "bundle-index"
	// BundleFrame: a frame cannot be read; the revisions that it holds have findings of their own.
	BundleFrame Kind = "bundle-frame"
	// BundleMember: the file and its index differ in one member.
	BundleMember Kind = "bundle-member"
	// BundleName: the footer says that the file has another name.
	BundleName Kind = "bundle-name"
	// BundleRange: its range overlaps with that of another one, or does not follow it.
	BundleRange Kind = "bundle-range"
	// BundleMissing: none ends with the transaction that another one, or x.serial, follows.
	BundleMissing Kind = "bundle-missing"
	// BundleForeign: it is of another database.
	BundleForeign Kind = "bundle-foreign"
	// GoneDamaged: the gone list of a bundle, of members that packs removed, cannot be read.
	GoneDamaged Kind = "gone-damaged"
	// TableDamaged: misc/current contradicts the bundles. The storage makes it again.
	TableDamaged Kind = "table-damaged"
)

// Kinds of findings about the home as a whole.
const (
	XOIDLow        Kind = "x-oid-low"       // x.oid is lower than an oid in use
	XSerialOld     Kind = "x-serial-old"    // there are transactions or revisions later than x.serial
	XFuture        Kind = "x-future"        // x.serial or x.packed is later than the clock
	XMissing       Kind = "x-missing"       // x.oid or x.serial
	XLength        Kind = "x-length"        // an x file is not 8 bytes long
	StrayFile      Kind = "stray-file"      // no database name
	Leftover       Kind = "leftover"        // of an interrupted operation; harmless
	JournalOlder   Kind = "journal-older"   // a journal entry is not newer than x.serial
	JournalStray   Kind = "journal-stray"   // a journal entry that recovery will refuse
	JournalDamaged Kind = "journal-damaged" // the log can't be read; the storage will not open
	JournalTorn    Kind = "journal-torn"    // the log ends within a batch that was never acknowledged
	// NeedsRecovery: the home was not closed cleanly. No damage.
	NeedsRecovery Kind = "needs-recovery"
	ConfigMissing Kind = "config-missing" // a file in config/
	ConfigDamaged Kind = "config-damaged"
	Unreadable    Kind = "unreadable" // the operating system could not read a file or directory
	TooMany       Kind = "too-many"   // findings of one kind were left out; Detail says how many
)

// Severity grades a finding.
type Severity string

const (
	// Damage means that data are lost, wrong or unreachable, or will be.
	Damage Severity = "damage"
	// Warning means that somebody should look; all data can be read.
	Warning Severity = "warning"
	// Note is for information.
	Note Severity = "note"
)

// Finding is one thing that was found. Findings come in no order.
type Finding struct {
	Kind     Kind
	Severity Severity
	// OID is the object concerned, if HasOID; 0 is the root object.
	OID    zodb.OID
	HasOID bool
	// TID is the revision or transaction concerned; 0 = none in particular.
	TID zodb.TID
	// Path of the file concerned, relative to HOME and slash-separated. For
	// something missing it is where it should be.
	Path string
	// Class is the Python class of the object, module.name, where it can be read.
	Class string
	// From is, for a dangling reference, the object that refers to OID, and FromTID
	// its revision. If there are several it is one that the root object reaches if
	// there is such, else one that a pack keeps; of these that with the lowest oid.
	From    zodb.OID
	FromTID zodb.TID
	// FromClass is the class of From, where it can be told.
	FromClass string
	// Detail is for humans: a lower-case phrase.
	Detail string
}

// FindingFields is the form of a Finding as a JSON document. Ids are 16 upper-case
// hexadecimal digits.
type FindingFields struct {
	Kind      Kind      `json:"kind"`
	Severity  Severity  `json:"severity"`
	OID       *zodb.OID `json:"oid,omitempty"`
	TID       *zodb.TID `json:"tid,omitempty"`
	Path      string    `json:"path,omitempty"`
	Class     string    `json:"class,omitempty"`
	From      *zodb.OID `json:"from,omitempty"`
	FromTID   *zodb.TID `json:"from_tid,omitempty"`
	FromClass string    `json:"from_class,omitempty"`
	Detail    string    `json:"detail,omitempty"`
}

// MarshalJSON leaves out fields that the finding does not have; the root object is
// oid "0000000000000000", not left out.
func (f Finding) MarshalJSON() ([]byte, error) {
	j := FindingFields{Kind: f.Kind, Severity: f.Severity, Path: f.Path, Class: f.Class, Detail: f.Detail}
	if f.HasOID {
		j.OID = &f.OID
	}
	if f.TID != 0 {
		j.TID = &f.TID
	}
	if f.Kind == DanglingReference {
		j.From, j.FromTID, j.FromClass = &f.From, &f.FromTID, f.FromClass
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the output of MarshalJSON.
func (f *Finding) UnmarshalJSON(b []byte) error {
	var j FindingFields
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*f = Finding{Kind: j.Kind, Severity: j.Severity, Path: j.Path, Class: j.Class, Detail: j.Detail}
	if j.OID != nil {
		f.OID, f.HasOID = *j.OID, true
	}
	if j.TID != nil {
		f.TID = *j.TID
	}
	if j.From != nil {
		f.From = *j.From
	}
	if j.FromTID != nil {
		f.FromTID = *j.FromTID
	}
	f.FromClass = j.FromClass
	return nil
}

// hidesRevisions reports whether there may be current revisions that the check does
// not come to: in a directory that can't be listed, in the journal, or in a bundle that is missing,
// or whose index does not list its content.
func (f Finding) hidesRevisions() bool {
	switch f.Kind {
	case JournalStray, JournalDamaged, JournalOlder,
		BundleIndex, BundleMember, BundleRange, BundleMissing, BundleForeign:
		return true
	case Unreadable:
		return !f.HasOID
	}
	return false
}
