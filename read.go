package dirstorage

import (
	"context"
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// Load returns the current revision of an object. Its data, like those of every load, may be shared
// by many readers, and must not be changed. Errors: *zodb.KeyError if there is none, or if its
// creation was undone; *zodb.CorruptError, with NoObject if it is there and the file of its
// revision is not.
func (s *Storage) Load(ctx context.Context, oid zodb.OID) (zodb.Revision, error) {
	return s.engine.Load(ctx, oid)
}

// LoadBefore returns the revision that was current just before a transaction,
// with the serial of the one that replaced it; nil without an error if the
// object had no revision then, or if that one was packed away. Errors:
// *zodb.KeyError if there is no such object at all, or if it did not exist at
// that time because its creation was undone; *zodb.CorruptError, also for a revision
// that is missing and was not packed away.
func (s *Storage) LoadBefore(ctx context.Context, oid zodb.OID, before zodb.TID) (*zodb.Revision, error) {
	return s.engine.LoadBefore(ctx, oid, before)
}

// LoadBeforeCached is [Storage.LoadBefore] for callers that must not wait: it answers
// only from memory, and never touches the disk. ok is false if it cannot, and also if
// the answer would be an error or that there is nothing. Revision.Data is shared by all readers and
// must not be changed.
func (s *Storage) LoadBeforeCached(oid zodb.OID, before zodb.TID) (rev zodb.Revision, ok bool) {
	return s.engine.LoadBeforeCached(oid, before)
}

// LoadSerial returns the data of one revision. Errors as Load.
func (s *Storage) LoadSerial(ctx context.Context, oid zodb.OID, serial zodb.TID) ([]byte, error) {
	return s.engine.LoadSerial(ctx, oid, serial)
}

// LoadRecord returns one revision with all facts about it. A record that says that the
// object does not exist is no error here. DataTID is 0 if the revision that it would
// name, or its transaction, was packed away: so a copier of the record finds the revision that it
// names.
func (s *Storage) LoadRecord(ctx context.Context, oid zodb.OID, serial zodb.TID) (zodb.Record, error) {
	return s.engine.LoadRecord(ctx, oid, serial)
}

// Exists reports whether an object can be loaded, without reading its record.
func (s *Storage) Exists(ctx context.Context, oid zodb.OID) (bool, error) {
	return s.engine.Exists(ctx, oid)
}

// OIDs yields the oid of every object, those included that do not exist any
// more and are not packed away, in no order. It reads the names of all files
// below A and B. An object committed meanwhile may be left out, and one that is written to
// meanwhile may come twice.
func (s *Storage) OIDs(ctx context.Context) iter.Seq2[zodb.OID, error] { return s.engine.OIDs(ctx) }

// NextOID returns the smallest oid from one on that there is a name of, in the log or
// below A or B: as [Storage.OIDs], but that it may also be of an object that is packed away. It
// lists few directories, but of formats lawn and flat one with all objects. An error that matches
// zodb.ErrNotFound if there is none.
func (s *Storage) NextOID(ctx context.Context, from zodb.OID) (zodb.OID, error) {
	return s.engine.NextOID(ctx, from)
}

// HighestOID returns the highest oid that was handed out or stored.
func (s *Storage) HighestOID() zodb.OID { return s.engine.HighestOID() }

// Serials yields the tids under which the revisions of an object were stored,
// newest first, back to the oldest that was not packed away. Errors as Load,
// but that the object does not exist any more is none. A revision that is damaged comes
// with an error, and those before it may follow.
func (s *Storage) Serials(ctx context.Context, oid zodb.OID) iter.Seq2[zodb.TID, error] {
	return s.engine.Serials(ctx, oid)
}

// Transaction returns one transaction. The error matches zodb.ErrNotFound if
// there is none with that tid, or if it was packed away.
func (s *Storage) Transaction(ctx context.Context, tid zodb.TID) (*zodb.Transaction, error) {
	return s.engine.Transaction(ctx, tid)
}

// Transactions yields the transactions with from <= tid <= to, oldest first; to
// = 0 means up to the last one. The files of transactions name the one before,
// so the chain is walked back once for marks and then block by block forward:
// each file is read twice, but for those of the oldest block, and the memory is that of a
// block, 256 KiB or one transaction, and of one mark (8 bytes) for each block. A damaged
// transaction comes with an error, as in [Storage.TransactionsBackward], and later ones follow.
func (s *Storage) Transactions(ctx context.Context, from, to zodb.TID) iter.Seq2[*zodb.Transaction, error] {
	return s.engine.Transactions(ctx, from, to)
}

// TransactionsBackward yields the transactions from one (0 = the last) back to
// the oldest that is not packed away. A transaction that is damaged, or missing
// although it was not packed away, comes with an error, and of the transaction only its
// TID is filled in; those before it follow, as far as they can be found. So it is, with an
// error that matches ErrBrokenLink, behind a transaction that does not lead to the one
// before it. An error without a transaction is the end.
func (s *Storage) TransactionsBackward(ctx context.Context, from zodb.TID) iter.Seq2[*zodb.Transaction, error] {
	return s.engine.TransactionsBackward(ctx, from)
}

// RecentTransactions returns the last n transactions, newest first. With an error come those later
// than the damage.
func (s *Storage) RecentTransactions(ctx context.Context, n int) ([]*zodb.Transaction, error) {
	return s.engine.RecentTransactions(ctx, n)
}

// Records yields the records of a transaction, in the order first stored. A
// revision that was packed away is passed over; one that is missing otherwise is a
// *zodb.CorruptError.
func (s *Storage) Records(ctx context.Context, t *zodb.Transaction) iter.Seq2[zodb.Record, error] {
	return s.engine.Records(ctx, t)
}

// TransactionSize returns the bytes of data, blobs not included, that a
// transaction stored, without reading them. Revisions that were packed away
// count nothing.
func (s *Storage) TransactionSize(ctx context.Context, t *zodb.Transaction) (int64, error) {
	return s.engine.TransactionSize(ctx, t)
}

// History returns up to n revisions of an object, newest first. It stops early
// after history_timeout, and at a revision that was packed away. A revision that is
// damaged or missing has an entry that says so, and those before it follow.
func (s *Storage) History(ctx context.Context, oid zodb.OID, n int) ([]zodb.HistoryEntry, error) {
	return s.engine.History(ctx, oid, n)
}

// HistoryBackward yields the entries of History, one after the other.
func (s *Storage) HistoryBackward(ctx context.Context, oid zodb.OID) iter.Seq2[zodb.HistoryEntry, error] {
	return s.engine.HistoryBackward(ctx, oid)
}

// UndoLog yields transactions from the newest back, with whether the files
// that an undo needs are there and sound: an object that is damaged makes the
// transactions that wrote it not undoable, and no others. Of a transaction that cannot be
// read itself the TID is all that is told. Whether a later change
// stands in the way is seen by [Txn.Undo]. It ends before the first transaction that was
// packed, as that of ZODB's FileStorage, and early after history_timeout.
func (s *Storage) UndoLog(ctx context.Context) iter.Seq2[zodb.UndoEntry, error] {
	return s.engine.UndoLog(ctx)
}
