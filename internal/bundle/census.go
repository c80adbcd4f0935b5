package bundle

import (
	"encoding/binary"
	"fmt"

	"github.com/dirstorage/dirstorage/zodb"
)

// Census counts the members of a bundle whose bytes pass by, from the first to the last. It finds
// the index by the lengths of the frames before it, decodes none of them, and compares no
// checksum but that of the footer. One goroutine uses it.
type Census struct {
	size   int64
	path   string
	object func(zodb.OID)

	skip int64  // bytes to pass over
	want int    // bytes that the next step needs
	buf  []byte // those that are there
	step func(b []byte) bool
	sum  bool // a checksum is behind the last block of the frame

	left int64 // bytes of the index of revisions that are to come
	last key   // of it
	any  bool  // last is set

	tail []byte // the last bytes
}

// NewCensus begins the census of a bundle of a size in bytes. object is told each object of which there
// is a revision, once. The path is for errors.
func NewCensus(size int64, path string, object func(zodb.OID)) *Census {
	c := &Census{size: size, path: path, object: object}
	c.await(4, c.magic)
	return c
}

// await sets the next step; nil: nothing more is to be found.
func (c *Census) await(want int, step func(b []byte) bool) {
	c.want, c.step = want, step
}

// Write takes the next bytes. The error is always nil: a damaged bundle counts as far as it is
// understood.
func (c *Census) Write(b []byte) (int, error) {
	n := len(b)
	c.keep(b)
	for len(b) > 0 && c.step != nil {
		if k := min(c.skip, int64(len(b))); k > 0 {
			c.skip -= k
			b = b[k:]
			continue
		}
		k := min(c.want-len(c.buf), len(b))
		piece := b[:k]
		if b = b[k:]; len(c.buf) > 0 || k < c.want {
			c.buf = append(c.buf, piece...)
			piece = c.buf
		}
		if len(piece) < c.want {
			continue
		}
		ok := c.step(piece)
		c.buf = c.buf[:0]
		if !ok {
			c.step = nil
		}
	}
	return n, nil
}

// keep keeps the end, which may be the footer.
func (c *Census) keep(b []byte) {
	c.tail = append(c.tail, b[max(0, len(b)-FooterSize):]...)
	if extra := len(c.tail) - FooterSize; extra > 0 {
		c.tail = append(c.tail[:0], c.tail[extra:]...)
	}
}

// magic looks at the first bytes of a frame.
func (c *Census) magic(b []byte) bool {
	switch binary.LittleEndian.Uint32(b) {
	case skippableMagic:
		c.await(4, c.index)
	case zstdMagic:
		c.await(1, c.descriptor)
	default:
		return false
	}
	return true
}

// index looks at the length of the first skippable frame, which holds the index of revisions.
func (c *Census) index(b []byte) bool {
	c.left = int64(binary.LittleEndian.Uint32(b))
	c.await(placeSize, c.revision)
	return c.left >= placeSize
}

// descriptor looks at the byte of a frame that tells how long its head is: RFC 8878, 3.1.1.1.
func (c *Census) descriptor(b []byte) bool {
	d := b[0]
	c.sum = d&4 != 0
	c.skip = []int64{0, 1, 2, 4}[d&3] + []int64{0, 2, 4, 8}[d>>6] // dictionary, size of the content
	if single := d&0x20 != 0; !single || d>>6 == 0 {
		c.skip++ // window, or a size of one byte
	}
	c.await(blockHead, c.block)
	return true
}

const blockHead = 3 // bytes

// block passes over a block.
func (c *Census) block(b []byte) bool {
	h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	c.skip = int64(h >> 3)
	switch h >> 1 & 3 {
	case 1: // one byte, repeated
		c.skip = 1
	case 3:
		return false
	}
	if h&1 == 0 {
		c.await(blockHead, c.block)
		return true
	}
	if c.sum {
		c.skip += 4
	}
	c.await(4, c.magic)
	return true
}

// revision counts the object of an entry, if the one before has another.
func (c *Census) revision(b []byte) bool {
	k := keyOf(sectionRevisions, b)
	if c.any && !c.last.less(k) {
		return false
	}
	if !c.any || k.first != c.last.first {
		c.object(zodb.OID(k.first))
	}
	c.last, c.any = k, true
	c.left -= placeSize
	return c.left >= placeSize
}

// End returns the content of the footer, when all bytes were there.
func (c *Census) End() (Info, error) {
	if c.size < FooterSize || len(c.tail) < FooterSize {
		return Info{}, &zodb.CorruptError{Path: c.path, Reason: fmt.Sprintf("%d bytes are not a bundle", c.size)}
	}
	return ReadFooter(c.tail, c.size, c.path)
}
