package store

import (
	"context"
	"iter"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// Lister lists the flushed part of a database. Its methods may run beside readers
// and the writer. Sequences are in no order and take little memory. An item that is put
// or moved meanwhile may be left out or come twice; an item that was there before and
// stays is never left out. A sequence ends with its first error, that of ctx included.
type Lister interface {
	// Objects yields each object that has a current revision, in A or B.
	Objects(ctx context.Context) iter.Seq2[zodb.OID, error]
	// Names yields all names of some kinds: revisions, transactions, blobs, and
	// KindObject for an object that has a current revision. One that both sides have, as
	// objects may, comes twice.
	Names(ctx context.Context, kinds ...layout.Kind) iter.Seq2[layout.Name, error]
	// NextOID returns the smallest oid from one on of which there is something, which may be
	// all that is left of the object, and whether there is one.
	NextOID(ctx context.Context, from zodb.OID) (next zodb.OID, found bool, err error)
	// OlderRevision returns the newest revision of an object before a serial, linked or
	// not; 0 if there is none.
	OlderRevision(oid zodb.OID, before zodb.TID) (zodb.TID, error)
	// OlderTransaction returns the newest transaction before one, linked or not; 0 if
	// there is none.
	OlderTransaction(before zodb.TID) (zodb.TID, error)
	// Count counts the items on some sides. An item of A that B replaces is counted once.
	Count(ctx context.Context, sides ...Side) (Counts, error)
}

// Counts is how much there is of something.
type Counts struct {
	Objects      int64 // with a current revision
	Revisions    int64
	Transactions int64
	Blobs        int64
	Bytes        int64 // of contents, blobs included
	BlobBytes    int64
}
