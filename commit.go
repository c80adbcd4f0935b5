package dirstorage

import (
	"context"
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// NewOIDs hands out n oids that nobody was given before, growing by one. They
// are kept in mind over a restart from the next finished transaction on; those
// that were never used by then may be handed out again.
func (s *Storage) NewOIDs(n int) ([]zodb.OID, error) { return s.engine.NewOIDs(n) }

// Begin starts a transaction. Any number may be open. Errors: metadata too
// long, a tid after which there is none, storage read-only or closed.
func (s *Storage) Begin(ctx context.Context, meta zodb.TxnMeta, o zodb.BeginOptions) (zodb.Txn, error) {
	return s.engine.Begin(ctx, meta, o)
}

// LastTransaction returns the tid of the last transaction that was finished; 0
// in a new storage. It may be called from the callback of [zodb.TxnEnd.Finish]; it may
// be later than the transaction of that call, since a batch becomes visible as one.
func (s *Storage) LastTransaction() zodb.TID { return s.engine.LastTransaction() }

// Flush returns when everything that was committed before is in A, or in B
// while the storage is in snapshot mode, and durable.
func (s *Storage) Flush(ctx context.Context) error { return s.engine.Flush(ctx) }

// OpenBlob opens the blob of a revision. Errors: *zodb.KeyError if there is no
// such revision or if it has no blob; *zodb.CorruptError if the file is missing
// or is known to have another length than it should.
func (s *Storage) OpenBlob(ctx context.Context, oid zodb.OID, serial zodb.TID) (zodb.Blob, error) {
	return s.engine.OpenBlob(ctx, oid, serial)
}

// LinkBlob gives the file of a revision's blob a second name, a hard link, at an
// absolute path outside of HOME, and makes nothing durable. Of the file only the
// number of links and the time of change differ then, as after cp -al. It waits for nobody,
// so the callback of [zodb.TxnEnd.Finish] may call it for the transaction that is being published.
//
// Errors: fs.ErrExist if there is a file at that path; fs.ErrNotExist that is not
// zodb.ErrNotFound, if its directory is missing; syscall.EXDEV if that is on
// another file system; *zodb.KeyError and *zodb.CorruptError as OpenBlob.
func (s *Storage) LinkBlob(ctx context.Context, oid zodb.OID, serial zodb.TID, name string) error {
	return s.engine.LinkBlob(ctx, oid, serial, name)
}

// Blobs yields every revision that has a blob, in no order. It reads the names of all files below A
// and B; a revision committed meanwhile may be left out, and one that is moved meanwhile may come
// twice.
func (s *Storage) Blobs(ctx context.Context) iter.Seq2[zodb.BlobRevision, error] {
	return s.engine.Blobs(ctx)
}

// Scratch makes a file that is empty. It is to be closed.
func (s *Storage) Scratch() (zodb.Scratch, error) { return s.engine.Scratch() }
