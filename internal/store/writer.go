package store

import (
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// Writer puts transactions that are in the log. It is used by one goroutine at a time,
// which is also the one that packs and thaws; readers go on meanwhile.
//
// Every method may be repeated after an error or a crash, with the same transactions from the
// first on, and leads to the same end. The caller keeps the transactions for that until
// SetLast has returned nil.
type Writer interface {
	// Put puts whole transactions, oldest first, each later than all that are there, and
	// x.oid of the last. When it returns nil everything is durable, and nothing says so yet: until
	// SetLast a reader may find some of it, and a crash may leave any part of it. To give B
	// says that B is read from now on.
	Put(side Side, batch []Transaction, p *Progress) error
	// SetLast sets x.serial, durably: all transactions up to it are there, whole. It is refused
	// if something that a failed sync may have lost was not put again.
	SetLast(side Side, tid zodb.TID) error
	// Sync makes everything durable that is not: also the finished part of an operation that
	// failed.
	Sync() error
	// SumKind is the kind of checksum that new revisions and transactions have in this format. Those
	// with another kind are put and read as well. It costs nothing, and may be called concurrently.
	SumKind() record.SumKind
	// Failure returns an error that does not pass: changes may never become durable any
	// more, and the next open examines the files. It may be called concurrently.
	Failure() error
}

// Transaction is one that is handed over to be put. Its methods may be called concurrently and
// more than once, until Put has returned.
type Transaction interface {
	TID() zodb.TID
	// HighestOID is the highest oid that was handed out when it was committed.
	HighestOID() zodb.OID
	// Len is how many revisions it stored, one for each object.
	Len() int
	// Revision describes one of them, 0..Len()-1.
	Revision(i int) Revision
	// AppendRevision appends the content of one to dst, as docs/format.md describes it.
	AppendRevision(dst []byte, i int) ([]byte, error)
	// AppendTransaction appends the content of the transaction.
	AppendTransaction(dst []byte) ([]byte, error)
}

// Revision describes a revision that is to be put.
type Revision struct {
	OID   zodb.OID
	First bool // the object had none before
	// Blob is the file with its blob, relative to HOME, whole and durable; empty: it has
	// none. It is moved away. If it is not there, an earlier Put has done that.
	Blob     string
	BlobSize int64 // bytes
}

// Original is for a store that can take the journal of the Python DirectoryStorage. It is
// used by the goroutine of [Writer].
type Original interface {
	// ParsePath returns the database name of a path relative to HOME, if that lies in A.
	ParsePath(path string) (layout.Name, bool)
	// Edit begins to put files that nothing can make again.
	Edit(side Side) Editor
	// SetMark sets one of the marks, durably, after all that was put before.
	SetMark(side Side, n layout.Name, content []byte) error
}

// Editor puts files that nothing can make again. Nobody sees anything of it before Sync. After a
// crash or an error, each name has its old or its new content, whole. It may be repeated after
// either, from the beginning.
type Editor interface {
	// Replace puts a content in the place of another one.
	Replace(n layout.Name, content []byte) error
	// Adopt moves a file of size bytes that lies in journal/ to its place, those of marks
	// included. If it is not there an earlier attempt has done that.
	Adopt(n layout.Name, staged string, size int64) error
	// Sync does all that was asked for since the last one, durably.
	Sync() error
}

// Progress is how far a Put is, in units of its own. Its methods may be called concurrently.
type Progress struct{ done, total atomic.Int64 }

// Reset is for the time in which nothing is put.
func (p *Progress) Reset() {
	p.done.Store(0)
	p.total.Store(0)
}

// Expect says how much there is to do.
func (p *Progress) Expect(total int64) { p.total.Store(total) }

// Add says that so much more is done.
func (p *Progress) Add(n int64) { p.done.Add(n) }

// Left returns which part is not done yet, 0..1.
func (p *Progress) Left() float64 {
	total := p.total.Load()
	if total <= 0 {
		return 1
	}
	return 1 - min(1, float64(p.done.Load())/float64(total))
}
