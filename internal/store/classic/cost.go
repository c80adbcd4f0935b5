package classic

import (
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
)

const (
	diskBlock = 4 << 10
	// nameSize is for the name of a file, and for its inode where inodes take space.
	nameSize = 512
)

// fileCost is the upper bound of the cost of a file of size bytes.
func fileCost(size int64) store.Cost {
	return store.Cost{Bytes: (size+diskBlock-1)/diskBlock*diskBlock + nameSize, Inodes: 1}
}

// Cost implements [store.Tender]. Work is the number of files: its own, x.oid and x.serial,
// and for each record a revision, a pointer and perhaps a blob. Their space includes the
// directories that a format usually needs for them, and nothing is taken off for the pointers
// that are replaced.
func (t *Store) Cost(o store.Outline) store.Cost {
	perTransaction, perObject := int64(1), int64(1)
	switch t.o.Format {
	case layout.Bushy:
		perTransaction, perObject = 4, 2
	case layout.Chunky:
		perTransaction = 3
	case layout.Flat:
		perTransaction, perObject = 0, 0
	}
	dirs := perTransaction
	sum := fileCost(int64(64 + 8*o.Records + o.Meta))
	sum.Work = 3 + 2*o.Records
	pointer := fileCost(8)
	o.Each(func(size int64, first, blob bool) {
		f := fileCost(80 + size)
		sum.Bytes += f.Bytes + pointer.Bytes
		sum.Inodes += f.Inodes + pointer.Inodes
		if first {
			dirs += perObject
		}
		if blob {
			sum.Work++
		}
	})
	dir := fileCost(diskBlock)
	sum.Bytes += dir.Bytes * dirs
	sum.Inodes += dir.Inodes * dirs
	return sum
}

// Damaged implements [store.Tender].
func (t *Store) Damaged() []string { return nil }

// LostLists implements [store.Tender]: a removal is the absence of a file.
func (t *Store) LostLists() []string { return nil }

// Tend implements [store.Tender]: there is nothing to do.
func (t *Store) Tend(store.Tending) (store.Chore, error) { return nil, nil }

// Close implements [store.Tender]: nothing is held.
func (t *Store) Close() error { return nil }
