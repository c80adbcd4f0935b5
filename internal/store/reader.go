package store

import (
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Reader reads the flushed part of a database. All methods may be called concurrently, and
// beside the one goroutine that writes: an item that was flushed before a call is found by
// it, newest side first. An item that is flushed, removed or moved meanwhile is found as
// it was, as it is, or, between the two, not at all. So a caller that finds something
// missing looks once more whether it has changed its place.
//
// A database name ([layout.Name]) that is not there is an error that matches
// fs.ErrNotExist; of an object that has no current revision it is a *zodb.KeyError.
type Reader interface {
	// Current returns the serial of the current revision of an object.
	Current(oid zodb.OID) (zodb.TID, error)
	// Load returns the current revision. *zodb.CorruptError, with NoObject, if it is known
	// which it is, and it is missing.
	Load(oid zodb.OID) (Record, error)
	// HasData reports whether the current revision is more than the note that the object
	// does not exist. It reads no record. Besides a *zodb.KeyError, an error that matches
	// fs.ErrNotExist says that the revision is missing.
	HasData(oid zodb.OID) (bool, error)
	// Get returns the content of a revision, a transaction or a mark (x.oid and its like), byte
	// for byte as docs/format.md describes it, and its place: its name in messages. The
	// place is there with an error, too.
	Get(n layout.Name) (data []byte, place string, err error)
	// Stat returns the length of a content in bytes, of blobs as well.
	Stat(n layout.Name) (size int64, err error)
	// OpenBlob opens the blob of a revision. An opened blob stays readable, even if it is
	// removed.
	OpenBlob(oid zodb.OID, tid zodb.TID) (f vfs.File, place string, err error)
	// Mark returns the value of x.oid, x.serial or x.packed. A *zodb.CorruptError if it is
	// missing, but for x.packed, which is 0 then.
	Mark(n layout.Name) (uint64, error)
	// Place returns the place, for messages, of a database name that is missing or
	// damaged. It looks at nothing.
	Place(n layout.Name) string
}

// Nearer is a store in which revisions of one transaction lie near each other, so that one who reads
// them one after the other need not look for each.
type Nearer interface {
	// Near begins such reads, in what is there now.
	Near() (Near, error)
}

// Near reads revisions that lie near each other. One goroutine uses it. What was put meanwhile need not be
// found, and what was removed may be. So whoever meets an error asks the store itself.
type Near interface {
	// Get is that of [Reader], for revisions.
	Get(n layout.Name) (data []byte, place string, err error)
	// Release ends it.
	Release() error
}

// Record is the content of a revision.
type Record struct {
	Data   []byte   // as docs/format.md describes it
	Place  string   // its name in messages
	Serial zodb.TID // that it has to have; 0: any, as in class Minimal
}
