package zodb

// TxnMeta is a client's description of a transaction. Each field holds at most
// MaxMetaLen bytes.
type TxnMeta struct {
	User        []byte // UTF-8
	Description []byte // UTF-8
	Extension   []byte // a pickled dict, or empty; never executed
}

// MaxMetaLen is the largest length in bytes of each field of TxnMeta; the file
// formats have 16 bits for it.
const MaxMetaLen = 65535

// Status of a transaction, as in a Data.fs.
const (
	StatusDone   byte = ' ' // committed
	StatusPacked byte = 'p' // committed, and packed since: it cannot be undone any more
)

// Transaction describes one committed transaction.
type Transaction struct {
	TxnMeta
	TID      TID
	Previous TID   // the transaction before it; 0 = none
	Status   byte  // StatusDone or StatusPacked
	OIDs     []OID // objects that it wrote, in the order first stored, without duplicates
}

// Record is one revision of one object as iteration and import deliver it.
type Record struct {
	OID    OID
	TID    TID
	Data   []byte // ZODB's two pickles; nil when Exists is false
	Exists bool   // false: from this transaction on the object does not exist (undone creation, deletion)
	// DataTID is the serial of the older revision whose data was copied by an
	// undo; 0 when the data is new here.
	DataTID TID
	// HasBlob tells that a blob belongs to this revision.
	HasBlob bool
}

// Revision is the result of a load.
type Revision struct {
	Data   []byte // owned by the caller
	Serial TID    // transaction that stored it
	End    TID    // serial of the next newer revision; 0 = it is the current one
}
