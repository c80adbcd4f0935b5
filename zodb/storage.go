package zodb

import (
	"context"
	"io"
	"iter"
)

// The interfaces by which a server, an import, an export and a load test use a storage.
// Each is a part of [Storage]; a function takes the parts that it needs. All methods of
// one storage may be called concurrently. They are documented in full at the methods of
// dirstorage.Storage, which have the same names.

// Loader reads objects by oid.
type Loader interface {
	// Load returns the current revision; *KeyError if there is none. Its data may be shared by many
	// readers, and must not be changed.
	Load(ctx context.Context, oid OID) (Revision, error)
	// LoadBefore returns the revision that was current just before a transaction; nil
	// without an error if there was none then.
	LoadBefore(ctx context.Context, oid OID, before TID) (*Revision, error)
	// LoadBeforeCached is LoadBefore from memory alone: it waits for nobody. ok is false
	// if the answer is not there.
	LoadBeforeCached(oid OID, before TID) (rev Revision, ok bool)
	// LoadSerial returns the data of one revision.
	LoadSerial(ctx context.Context, oid OID, serial TID) ([]byte, error)
	// Exists reports whether Load would find the object.
	Exists(ctx context.Context, oid OID) (bool, error)
	// LastTransaction returns the last tid; 0 = there is no transaction.
	LastTransaction() TID
}

// Objects lists the objects of a storage.
type Objects interface {
	// OIDs yields every object, in no order, deleted ones included.
	OIDs(ctx context.Context) iter.Seq2[OID, error]
	// Serials yields the tids of the revisions of an object, newest first.
	Serials(ctx context.Context, oid OID) iter.Seq2[TID, error]
	// LoadRecord returns one revision with all that is known of it.
	LoadRecord(ctx context.Context, oid OID, serial TID) (Record, error)
	// NextOID returns the smallest oid from one on; ErrNotFound if there is none.
	NextOID(ctx context.Context, from OID) (OID, error)
	// HighestOID returns the highest oid that was handed out or stored.
	HighestOID() OID
}

// Transactions reads the chain of transactions. A damaged one comes with an error, and
// the others follow.
type Transactions interface {
	// Transaction returns one; ErrNotFound if there is none with that tid.
	Transaction(ctx context.Context, tid TID) (*Transaction, error)
	// Transactions yields those with from <= tid <= to, oldest first; to = 0 is the last.
	Transactions(ctx context.Context, from, to TID) iter.Seq2[*Transaction, error]
	// TransactionsBackward yields them from one (0 = the last) back to the oldest.
	TransactionsBackward(ctx context.Context, from TID) iter.Seq2[*Transaction, error]
	// RecentTransactions returns the last n, newest first.
	RecentTransactions(ctx context.Context, n int) ([]*Transaction, error)
	// Records yields the records of a transaction, in the order first stored.
	Records(ctx context.Context, t *Transaction) iter.Seq2[Record, error]
	// TransactionSize returns the bytes of its records, blobs not included.
	TransactionSize(ctx context.Context, t *Transaction) (int64, error)
}

// Histories reads the past: undo log, histories and old transactions.
type Histories interface {
	// History returns up to n revisions of an object, newest first.
	History(ctx context.Context, oid OID, n int) ([]HistoryEntry, error)
	// HistoryBackward yields them one after the other.
	HistoryBackward(ctx context.Context, oid OID) iter.Seq2[HistoryEntry, error]
	// UndoLog yields transactions from the newest back, with whether each can be undone.
	UndoLog(ctx context.Context) iter.Seq2[UndoEntry, error]
}

// Blobs reads the blobs beside records.
type Blobs interface {
	// OpenBlob opens the blob of a revision.
	OpenBlob(ctx context.Context, oid OID, serial TID) (Blob, error)
	// LinkBlob gives the file of a blob a second name, a hard link at an absolute path.
	LinkBlob(ctx context.Context, oid OID, serial TID, name string) error
	// Blobs yields every revision that has one, in no order.
	Blobs(ctx context.Context) iter.Seq2[BlobRevision, error]
}

// Writer commits.
type Writer interface {
	// NewOIDs hands out n oids that nobody was given before.
	NewOIDs(n int) ([]OID, error)
	// Begin starts a transaction; any number may be open.
	Begin(ctx context.Context, meta TxnMeta, o BeginOptions) (Txn, error)
	// Scratch makes an empty file, for data too large for memory.
	Scratch() (Scratch, error)
	// LastTransaction is that of Loader.
	LastTransaction() TID
}

// Packer removes revisions that nobody needs.
type Packer interface {
	// Pack packs; one at a time.
	Pack(ctx context.Context, o PackOptions) (PackResult, error)
	// OnPacked has f called whenever a pack has removed something.
	OnPacked(f func())
	// PacksUndo reports whether packs remove transactions although some of their revisions are
	// left. Then changes before the pack time cannot be told from the transactions.
	PacksUndo() bool
}

// Snapshots makes the files stand still for a copy.
type Snapshots interface {
	// EnterSnapshot enters snapshot mode under a code that the caller chooses.
	EnterSnapshot(ctx context.Context, code string) error
	// LeaveSnapshot ends the mode that was entered under that code.
	LeaveSnapshot(ctx context.Context, code string) error
	// WaitNormal returns when the storage is in no snapshot mode and nothing of one is left.
	WaitNormal(ctx context.Context) error
}

// Describer describes a storage. None of its methods waits.
type Describer interface {
	// Home returns the path of the storage.
	Home() string
	// Identity returns the identity of the storage, 32 hexadecimal digits.
	Identity() string
	// Status describes it at this moment.
	Status() Status
	// Counts returns how much it holds.
	Counts() Counts
}

// Scratch is a file of a storage for a caller without enough memory. It goes with Close, and
// after a crash. Its methods are called by one goroutine at a time.
type Scratch interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// Storage is all of it, for a server. A storage that only reads refuses the
// methods of Writer, Packer and Snapshots with ErrReadOnly. Close ends it: open transactions
// are aborted, and no other can begin (ErrClosed).
type Storage interface {
	io.Closer
	Loader
	Objects
	Transactions
	Histories
	Blobs
	Writer
	Packer
	Snapshots
	Describer
}

// TxnRecords takes the changes of a transaction.
type TxnRecords interface {
	// Store stores new data for an object. serial is the revision that the change is
	// based on, 0 for a new object; it is compared at vote. data is not kept.
	Store(oid OID, serial TID, data []byte) error
	// Delete makes an object not exist from this transaction on.
	Delete(oid OID, serial TID) error
	// CheckCurrent makes the vote fail unless serial is the current revision then.
	CheckCurrent(oid OID, serial TID) error
	// Undo takes back the changes of an earlier transaction, and returns the objects concerned.
	Undo(ctx context.Context, tid TID) ([]OID, error)
	// Data returns the record that this transaction stores for an object.
	Data(oid OID) ([]byte, error)
	// Deletes reports whether it deletes an object.
	Deletes(oid OID) bool
	// OIDs returns the objects that it writes, in the order first stored.
	OIDs() []OID
}

// TxnBlobs brings blobs, and copies of records of other storages.
type TxnBlobs interface {
	// BeginBlob starts a blob of which the content comes in pieces: BlobSource.Staged.
	BeginBlob() (BlobWriter, error)
	// StoreBlob is Store for an object together with a blob.
	StoreBlob(oid OID, serial TID, data []byte, src BlobSource) error
	// Restore stores a record of a copied transaction without looking for conflicts. blob
	// is nil unless a blob belongs to it.
	Restore(ctx context.Context, rec Record, blob *BlobSource) error
}

// TxnEnd ends a transaction.
type TxnEnd interface {
	// Vote looks for conflicts and writes everything, so that Finish can fail only if the
	// disk does. After *ConflictsError the transaction is still open: store resolved
	// records and vote again. After any other error it is to be aborted.
	Vote(ctx context.Context) error
	// Finish commits, and returns the tid when that is durable. It takes no notice of ctx.
	// published, if not nil, is called once the transaction can be read, in the order of
	// the tids; it must be quick.
	Finish(ctx context.Context, published func(TID)) (TID, error)
	// Abort ends a transaction that was not finished; after Finish it does nothing.
	Abort() error
}

// Txn is an open transaction. Its methods are called by one goroutine at a time. It ends
// with Finish or Abort.
type Txn interface {
	TxnRecords
	TxnBlobs
	TxnEnd
}
