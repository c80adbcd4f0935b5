package store

import (
	"context"
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// Filer knows which ordinary files below HOME hold the database, by paths relative to HOME, with
// slashes. Its methods may run beside readers and the writer; for a copy that is good A has to
// stand still.
type Filer interface {
	// Files yields the files of A that a copy of all of it needs, those that are no part of the
	// database included, and without those that packs put aside. It ends with its first error,
	// that of ctx included.
	Files(ctx context.Context) iter.Seq2[string, error]
	// FilesSince yields the files that a copy needs on top of one that ends with a transaction:
	// each once, the marks last, those too if nothing was committed since. Its cost is that of the
	// changes, where the transactions name them. The error says so if they do not lead to that one
	// and no pack explains why. A file that should be there and is not is told to lost, if that is
	// not nil. has reports whether the copy has a file with Description.Named; such files come if
	// it does not, whenever they were made. If has is nil, those come that have something of a later
	// transaction; so a pack in between may be found in some of them only.
	FilesSince(ctx context.Context, last zodb.TID, has func(path string) bool, lost func(text string)) iter.Seq2[string, error]
	// BlobFiles returns where the blob of a revision may be, in the order in which it moves.
	// Nothing is looked at.
	BlobFiles(oid zodb.OID, tid zodb.TID) []string
	// Space looks at every file and tells how much A and B take up on the disk. A side that
	// is not there is not in it; one that lies elsewhere, behind a symbolic link, is.
	Space(ctx context.Context) (Space, error)
}

// Space is the disk space of a database: blocks, not lengths.
type Space struct {
	Sides map[Side]Occupied
	Aside map[int64]Occupied // by the stamp of the pack that put it aside; it is in Sides, too
}

// Occupied is the space of some files and directories.
type Occupied struct{ Files, Bytes int64 }
