package bundle

import (
	"bytes"
	"sort"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// Near finds and reads revisions with the checks of [Reader.Find] and [Reader.Read]. It keeps the blocks
// of the index and the frame that it has read last, for a next one that lies nearby. The zero value
// has read nothing. One goroutine uses it.
type Near struct {
	r      *Reader // of all below
	blocks [sectionFences]nearBlock
	number uint32 // of the frame
	frame  []byte // nil: there is none
	packed []byte // a buffer
	plain  []byte // a buffer, that of the frame
}

// nearBlock is a block of a section.
type nearBlock struct {
	k   int64
	b   []byte // nil: there is none
	buf []byte
}

// keptFrame is the largest frame that is kept. A larger one holds one member.
const keptFrame = 256 << 10

// of begins to read a bundle, if it is another one than before.
func (n *Near) of(r *Reader) {
	if n.r == r {
		return
	}
	n.r, n.frame = r, nil
	for i := range n.blocks {
		n.blocks[i].b = nil
	}
}

// block is [Reader.block]. The result may be read until the next call.
func (n *Near) block(section int, k int64) ([]byte, error) {
	at := &n.blocks[section]
	if at.b != nil && at.k == k {
		return at.b, nil
	}
	at.b = nil
	b, err := n.r.block(section, k, at.buf)
	if err != nil {
		return nil, err
	}
	at.k, at.b, at.buf = k, b, b
	return b, nil
}

// Find is [Reader.Find].
func (n *Near) Find(r *Reader, oid zodb.OID, tid zodb.TID) (e Revision, number int64, err error) {
	n.of(r)
	k := key{uint64(oid), uint64(tid)}
	at := r.blockOf(sectionRevisions, k)
	if at < 0 {
		return e, -1, nil
	}
	b, err := n.block(sectionRevisions, at)
	if err != nil {
		return e, 0, err
	}
	number = lastIn(b, sectionRevisions, at, k, func(b []byte) { e = parseRevision(b) })
	if e.OID != oid || e.TID != tid {
		return Revision{}, -1, nil
	}
	return e, number, r.checkPlace(e.Place, e.Name())
}

// Read is [Reader.Read].
func (n *Near) Read(r *Reader, p Place, name layout.Name) ([]byte, error) {
	n.of(r)
	if n.frame != nil && n.number == p.Frame {
		content, err := r.Member(n.frame, p, name)
		return bytes.Clone(content), err
	}
	n.frame = nil
	f, err := n.find(p.Frame)
	if err != nil {
		return nil, err
	}
	packed, err := r.ReadPacked(f, n.packed)
	if err != nil {
		return nil, err
	}
	if cap(packed) <= keptFrame {
		n.packed = packed
	}
	frame, err := r.Decode(f, packed, n.plain)
	if err != nil {
		return nil, err
	}
	content, err := r.Member(frame, p, name)
	if err != nil || cap(frame) > keptFrame {
		return content, err
	}
	n.number, n.frame, n.plain = p.Frame, frame, frame
	return bytes.Clone(content), nil
}

// find is [Reader.Frame].
func (n *Near) find(number uint32) (Frame, error) {
	if int64(number) >= n.r.Frames {
		return n.r.Frame(number) // which says it
	}
	b, err := n.block(sectionFrames, int64(number)/framesInBlock)
	if err != nil {
		return Frame{}, err
	}
	f := parseFrame(b[int64(number)%framesInBlock*frameSize:])
	return f, n.r.checkFrame(f)
}

// blockOf returns the block of a section that has the last entry whose key is not greater than one; -1: there is none.
func (r *Reader) blockOf(section int, k key) int64 {
	list := r.fences[section]
	return int64(sort.Search(len(list), func(i int) bool { return k.less(list[i].key) })) - 1
}

// lastIn is last for a block that was read.
func lastIn(b []byte, section int, block int64, k key, found func(entry []byte)) int64 {
	size := int(entrySize(section))
	i := sort.Search(len(b)/size, func(i int) bool { return k.less(keyOf(section, b[i*size:])) }) - 1
	found(b[i*size:][:size])
	return block*inBlock(section) + int64(i)
}
