package state

import (
	"math"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// A transaction in the journal has its space there, but no files yet. These take more: a
// record of a hundred bytes becomes two files, so two blocks and two inodes. So commits are
// only taken while the whole journal can be flushed into the free space, or, when little is
// free, into the space of the reserve.

// Footprint is the space of files on a file system.
type Footprint struct{ Bytes, Inodes int64 }

// plus is the sum of two.
func (a Footprint) plus(b Footprint) Footprint {
	return Footprint{a.Bytes + b.Bytes, a.Inodes + b.Inodes}
}

// minus is the difference of two.
func (a Footprint) minus(b Footprint) Footprint {
	return Footprint{a.Bytes - b.Bytes, a.Inodes - b.Inodes}
}

// part is n/d of it.
func (a Footprint) part(n, d int64) Footprint { return Footprint{a.Bytes / d * n, a.Inodes / d * n} }

// atMost is the lesser of both in each.
func (a Footprint) atMost(b Footprint) Footprint {
	return Footprint{min(a.Bytes, b.Bytes), min(a.Inodes, b.Inodes)}
}

// FitsInto reports whether a is at most as large as b.
func (a Footprint) FitsInto(b Footprint) bool { return a.Bytes <= b.Bytes && a.Inodes <= b.Inodes }

// Boundless is more than anything takes up.
func Boundless() Footprint { return Footprint{math.MaxInt64 / 4, math.MaxInt64 / 4} }

const (
	// batchSlack is for the marks of a flush, which are written aside.
	batchSlack = 64 << 10
)

// FootprintOf returns the upper bound of the space that the flush of a transaction takes.
func FootprintOf(c store.Cost) Footprint { return Footprint{c.Bytes, c.Inodes} }

// Outline describes a transaction to the store, for [store.Tender].
func Outline(meta *zodb.TxnMeta, records int, each func(yield func(size int64, first, blob bool))) store.Outline {
	return store.Outline{Meta: len(meta.User) + len(meta.Description) + len(meta.Extension), Records: records, Each: each}
}

// Fit returns the oldest transactions of a batch that can be flushed into the free space,
// at least one.
func Fit(batch []*Committed, free Footprint) []*Committed {
	free = free.minus(Footprint{batchSlack, 4}).part(7, 8)
	var sum Footprint
	for i, c := range batch {
		if sum = sum.plus(c.Room); i > 0 && !sum.FitsInto(free) {
			return batch[:i]
		}
	}
	return batch
}
