package store

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

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
	// Removed returns the space of the removals of packs inside files, as it was weighed last;
	// before that it is an estimate. It takes no time. inside is false where each item is a file.
	Removed() (r Removed, inside bool)
	// Weigh weighs it, and reads the indexes of files of which a pack has removed something since it
	// did so before. A chore of [Tender.Tend] on A does the same.
	Weigh(ctx context.Context) (Removed, error)
}

// Space is the disk space of a database: blocks, not lengths.
type Space struct {
	Sides   map[Side]Occupied
	Removed Removed // which is in Sides, too
	// Inside: packs remove items inside files. Their space comes back when [Tender.Tend] has the
	// file written again.
	Inside bool
}

// Removed is the space of removals of packs that takes up room still: files, and items inside files
// with their share of these.
type Removed struct {
	Gone  Occupied           // for good; it comes back when the files are written again
	Aside map[int64]Occupied // by the stamp of the pack that put it aside
}

// Public returns it for users, the oldest pack first; delay is delay_delete.
func (r Removed) Public(inside bool, delay time.Duration) *zodb.Removed {
	p := &zodb.Removed{InBundles: inside, GoneBytes: r.Gone.Bytes}
	for _, stamp := range slices.Sorted(maps.Keys(r.Aside)) {
		a := r.Aside[stamp]
		p.Aside = append(p.Aside, zodb.Aside{Stamp: stamp, Files: a.Files, Bytes: a.Bytes, Until: time.Unix(stamp, 0).Add(delay).UTC()})
	}
	return p
}

// Occupied is the space of some files and directories.
type Occupied struct{ Files, Bytes int64 }
