package store

import (
	"context"
	"time"
)

// Tender tells the cost of flushes, and looks after existing files.
type Tender interface {
	// Cost returns the upper bound of the cost of flushing a transaction. It looks at nothing,
	// and may be called concurrently.
	Cost(o Outline) Cost
	// SyncFound makes durable all that a process before this one may have left in memory. It is
	// called when the lock of HOME is held, before anything that was read is acted on.
	SyncFound() error
	// Tend begins a piece of work that makes the store cheaper and changes no result of a read.
	// nil: there can be none now, as while B is in use. It takes no time, and is called by the
	// goroutine of [Writer], for one chore at a time.
	Tend(o Tending) (Chore, error)
	// Damaged returns the paths of files that the open or chores found damaged, and leave alone, or of the
	// directory in which files are missing. It costs nothing, and may be called concurrently.
	Damaged() []string
	// LostLists returns the paths of files with removals that were there when the store was last open
	// for writing, and are not any more. It costs nothing, and may be called concurrently.
	LostLists() []string
	// Close closes the files of the store, when nothing of it is used any more but opened blobs. It
	// makes nothing durable.
	Close() error
}

// Tending are the limits of a chore.
type Tending struct {
	// Least is the share of the bytes of a file, 0..1, from which on those that were removed for
	// good are given back to the file system. 0: half.
	Least float64
	// Before has items removed for good that were put aside with stamps before this; 0: none are.
	Before int64
	// Room is how many bytes of the disk may be taken meanwhile; 0: as many as it needs.
	Room int64
	// Reclaim allows only chores that give space back, the best first: the one that gives back most
	// for the room that it takes meanwhile. Nothing is merged. If there are such chores and none
	// of them has room, the error of Prepare matches zodb.ErrDiskFull.
	Reclaim bool
	// Claim is called by Prepare before it writes a file of at most so many bytes in the place of one
	// with much waste, and may make room for it. nil: there is none to be made.
	Claim func(bytes int64)
	// Rest is called now and then while much is written, with the time that a piece of it took. nil:
	// there is no haste to make way for others.
	Rest func(took time.Duration)
}

// Chore is one piece of work of a [Tender]. Neither a crash nor an error in it changes a result of a
// read.
type Chore interface {
	// Prepare does the long part of it, in any goroutine, beside readers and the goroutine
	// of [Writer], and changes nothing in A and B. found: there is something to publish.
	Prepare(ctx context.Context) (found bool, err error)
	// Publish puts the prepared files in their place, by the goroutine of [Writer]. Where they do not
	// fit any more, and while B is in use, it does nothing. After that there may be more to do.
	Publish() (Tended, error)
	// Again returns, after a Prepare that found nothing, how long it is until there may be something
	// although nothing was changed; 0: there will not be.
	Again() time.Duration
	// Close releases the resources of the chore. It is called last, in any case.
	Close() error
}

// Tended is the outcome of a chore.
type Tended struct {
	Files    int    // that were replaced
	Bytes    int64  // of the files in their place
	GaveBack int64  // bytes that the file system has more than before
	Note     string // for the log; empty: nothing is to be said
	// Rewritten is the number of files that were written again without their removed members.
	Rewritten int
}

// Outline describes a transaction that is not flushed.
type Outline struct {
	Meta    int // bytes of user, description and extension
	Records int
	// Each yields the records: bytes of data, whether the object is new, and
	// whether it has a blob, which lies on the disk already.
	Each func(yield func(size int64, first, blob bool))
}

// Cost is the cost of flushing a transaction.
type Cost struct {
	// Work is the unit of the flush thresholds of config/settings, of the pace of writers
	// and of the slices of a thaw: in a store of a file for each revision, files.
	Work int
	// Bytes and Inodes are its space on the file system.
	Bytes, Inodes int64
}
