package txn

import (
	"hash/maphash"
	"iter"
	"math/bits"

	"github.com/dirstorage/dirstorage/zodb"
)

// operation is a change of one object by a transaction. There may be a million of them, so
// rare parts are aside.
type operation struct {
	oid      zodb.OID // set by put
	serial   zodb.TID // the revision it is based on; of no meaning for a restore
	previous zodb.TID // the current revision, found at vote
	more     *aside
	data     spooled
	kind     opKind
	gone     bool
}

// aside holds the parts of an operation that a plain store does not have.
type aside struct {
	undoFrom zodb.TID
	undoes   []undoStep // of an undo: all that it undoes
	merge    *undoMerge // of an undo: the merge that the caller has to make first
	blob     *stagedBlob
}

type opKind uint8

const (
	opStore opKind = iota
	opDelete
	opRestore
	opUndo
)

// aside returns them; the zero value if there are none.
func (op *operation) aside() aside {
	if op.more == nil {
		return aside{}
	}
	return *op.more
}

// blob returns the blob of the new revision; nil: it has none.
func (op *operation) blob() *stagedBlob { return op.aside().blob }

// operations are those of a transaction, in the order in which their objects were first
// stored. The zero value is empty. An operation has one place until the end.
type operations struct {
	n      int
	chunks [][]operation
	index  []uint32 // by the hash of the oid: 1 + the number of an operation; 0 = none. Nil: there are few
	seed   maphash.Seed
}

const (
	// firstChunk is how many operations the first chunk has. Each one has twice as many as that before
	// it, up to largestChunk, which is firstChunk << growing.
	firstChunk   = 4
	growing      = 8
	largestChunk = firstChunk << growing
	// doubled is how many operations are in the chunks before the first one of largestChunk.
	doubled = largestChunk - firstChunk
	// indexFrom is from how many operations on there is an index.
	indexFrom = 9
)

// chunkOf returns the chunk and the place in it of an operation.
func chunkOf(i int) (chunk, at int) {
	if i < doubled {
		chunk = bits.Len(uint(i+firstChunk)) - bits.Len(firstChunk)
		return chunk, i + firstChunk - firstChunk<<chunk
	}
	return growing + (i-doubled)/largestChunk, (i - doubled) % largestChunk
}

func (o *operations) at(i int) *operation {
	chunk, at := chunkOf(i)
	return &o.chunks[chunk][at]
}

// all yields all operations.
func (o *operations) all() iter.Seq[*operation] {
	return func(yield func(*operation) bool) {
		left := o.n
		for _, c := range o.chunks {
			for i := range c[:min(left, len(c))] {
				if !yield(&c[i]) {
					return
				}
			}
			left -= min(left, len(c))
		}
	}
}

// oids returns the objects of all operations.
func (o *operations) oids() []zodb.OID {
	list := make([]zodb.OID, 0, o.n)
	for op := range o.all() {
		list = append(list, op.oid)
	}
	return list
}

// get returns the operation on an object; nil if there is none.
func (o *operations) get(oid zodb.OID) *operation {
	if o.index == nil {
		for op := range o.all() {
			if op.oid == oid {
				return op
			}
		}
		return nil
	}
	if i := o.index[o.slot(oid)]; i != 0 {
		return o.at(int(i - 1))
	}
	return nil
}

// slot returns the slot of the index that an object has, or would have.
func (o *operations) slot(oid zodb.OID) int {
	mask := len(o.index) - 1
	for at := int(maphash.Comparable(o.seed, oid)) & mask; ; at = (at + 1) & mask {
		if i := o.index[at]; i == 0 || o.at(int(i-1)).oid == oid {
			return at
		}
	}
}

// put notes an operation; a later one on the same object replaces the earlier.
func (o *operations) put(oid zodb.OID, op operation) {
	op.oid = oid
	if before := o.get(oid); before != nil {
		*before = op
		return
	}
	chunk, at := chunkOf(o.n)
	if chunk == len(o.chunks) {
		o.chunks = append(o.chunks, make([]operation, firstChunk<<min(chunk, growing)))
	}
	o.chunks[chunk][at] = op
	o.n++
	if o.n < indexFrom {
		return
	}
	if 4*o.n > 3*len(o.index) {
		o.grow()
		return
	}
	o.index[o.slot(oid)] = uint32(o.n)
}

// grow makes an index that is twice as large.
func (o *operations) grow() {
	if o.index == nil {
		o.seed = maphash.MakeSeed()
	}
	o.index = make([]uint32, max(4*firstChunk, 2*len(o.index)))
	i := uint32(0)
	for op := range o.all() {
		i++
		o.index[o.slot(op.oid)] = i
	}
}
