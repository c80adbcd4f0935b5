package state

import (
	"math"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// What is in the journal has its space there, but no files yet. They take more: a record of
// a hundred bytes becomes two files, so two blocks and two inodes. So commits are only
// taken while all that is in the journal can be flushed into what is free, or, when little is
// free, into what the reserve gives up.

// Footprint is what files take up on a file system.
type Footprint struct{ Bytes, Inodes int64 }

// Plus is the sum of two.
func (a Footprint) Plus(b Footprint) Footprint {
	return Footprint{a.Bytes + b.Bytes, a.Inodes + b.Inodes}
}

// Minus is the difference of two.
func (a Footprint) Minus(b Footprint) Footprint {
	return Footprint{a.Bytes - b.Bytes, a.Inodes - b.Inodes}
}

// Part is n/d of it.
func (a Footprint) Part(n, d int64) Footprint { return Footprint{a.Bytes / d * n, a.Inodes / d * n} }

// FitsInto reports whether it is no larger than another one.
func (a Footprint) FitsInto(b Footprint) bool { return a.Bytes <= b.Bytes && a.Inodes <= b.Inodes }

// Boundless is more than anything takes up.
func Boundless() Footprint { return Footprint{math.MaxInt64 / 4, math.MaxInt64 / 4} }

// DiskBlock is how many bytes a file takes up at least.
const DiskBlock = 4 << 10

const (
	// nameSize is for the name of a file, and for its inode where inodes take space.
	nameSize = 512
	// batchSlack is for the marks of a flush, which are written aside.
	batchSlack = 64 << 10
)

// fileRoom is what one file of that many bytes takes up at most.
func fileRoom(size int64) Footprint {
	return Footprint{(size+DiskBlock-1)/DiskBlock*DiskBlock + nameSize, 1}
}

// RoomOf is what the flush of a transaction takes up at most: the directories
// that a format usually needs for it are in it, and nothing is taken off for the
// pointers that are replaced.
func RoomOf(format layout.Format, meta *zodb.TxnMeta, records []journal.Entry) Footprint {
	return RoomOfEach(format, meta, len(records), func(yield func(size int64, fresh bool)) {
		for i := range records {
			yield(records[i].Len, records[i].Previous == 0)
		}
	})
}

// RoomOfEach is RoomOf where n records are yielded: the length of the data in bytes, and
// whether the object is new.
func RoomOfEach(format layout.Format, meta *zodb.TxnMeta, n int, records func(yield func(size int64, fresh bool))) Footprint {
	perTransaction, perObject := int64(1), int64(1)
	switch format {
	case layout.Bushy:
		perTransaction, perObject = 4, 2
	case layout.Chunky:
		perTransaction = 3
	case layout.Flat:
		perTransaction, perObject = 0, 0
	}
	dirs := perTransaction
	sum := fileRoom(int64(64 + 8*n + len(meta.User) + len(meta.Description) + len(meta.Extension)))
	records(func(size int64, fresh bool) {
		sum = sum.Plus(fileRoom(80 + size)).Plus(fileRoom(8))
		if fresh {
			dirs += perObject
		}
	})
	dir := fileRoom(DiskBlock)
	return sum.Plus(Footprint{dir.Bytes * dirs, dir.Inodes * dirs})
}

// Fit returns the oldest transactions of a batch that can be flushed into what is free, one
// at least.
func Fit(batch []*Committed, free Footprint) []*Committed {
	free = free.Minus(Footprint{batchSlack, 4}).Part(7, 8)
	var sum Footprint
	for i, c := range batch {
		if sum = sum.Plus(c.Room); i > 0 && !sum.FitsInto(free) {
			return batch[:i]
		}
	}
	return batch
}
