package store

import (
	"context"
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// Packer removes the victims of a pack, and brings them back. It is used by the
// goroutine of [Writer], while flushes go to A and B is empty. Every method may be repeated
// after an error or a crash. Items removed with a stamp (seconds since 1970, not 0) can be
// brought back until they are purged; with 0 they are gone for good.
type Packer interface {
	// SetPacked sets x.packed, durably, before anything is removed that it explains.
	SetPacked(tid zodb.TID) error
	// Remove removes objects, revisions and transactions in an order in which
	// nothing that stays or is still there names something that is gone. It is durable with the
	// next [Writer.Sync]; until then a crash may bring any of it back. Missing items are
	// passed over. The counts are of the items that were there, also with an error.
	Remove(stamp int64, r Removal) (Counts, error)
	// Relink makes transactions name others as the ones before them, durably. Each is
	// whole at every moment.
	Relink(links []Link) error
	// BringBack begins to bring back the items removed with a stamp; 0: all that is put
	// aside. An object of which something comes back gets a current revision, and a revision its blob
	// and its transaction, whatever stamps these have; an object of which the current revision is gone for
	// good stays aside, and so does a revision of which the blob is.
	BringBack(stamp int64) Restorer
	// BroughtBack yields all transactions that are there, in no order. The remains of a
	// killed attempt to bring something back are durable with the next Relink.
	BroughtBack(ctx context.Context) iter.Seq2[zodb.TID, error]
	// Purge begins to remove for good all items put aside with stamps before one.
	Purge(before int64) Purger
}

// Removal is a part of the victims of a pack.
type Removal struct {
	Objects      []zodb.OID // that have no current revision any more
	Revisions    []Revisions
	Transactions []zodb.TID // in the order in which they go
}

// Revisions are some of one object. Their blobs go with them.
type Revisions struct {
	OID  zodb.OID
	TIDs []zodb.TID
}

// Link says that a transaction shall name another one as the one before.
type Link struct{ TID, Previous zodb.TID }

// Restorer brings back, step by step. Steps are called by one goroutine at a time.
type Restorer interface {
	// Step brings back about limit things, or fewer after a look at many others, durably: revisions, blobs and transactions, then
	// objects, of which the newest of several counts. begins is called before the first of a
	// step; its error ends the step.
	Step(limit int, begins func() error) (Restored, error)
	// Close ends it, wherever it is.
	Close()
}

// Restored is the result of one step that brings things back.
type Restored struct {
	Counts
	Skipped int64 // of which there are others in their places
	NoBlob  int64 // revisions that are gone for good, because their blobs are missing
	Seen    int64 // that the step has looked at
	// Pointing: the next step is about objects.
	Pointing bool
	Done     bool // there is nothing left
}

// Purger removes for good, step by step. Steps are called by one goroutine at a time.
type Purger interface {
	// Step removes about limit things, or fewer after a look at many others, durably. It returns how many of them, and the space of the
	// files among them. With an error, too, they are removed.
	Step(limit int) (removed Occupied, done bool, err error)
	Close()
}
