package wire

import (
	"encoding/binary"
	"fmt"
)

// blobChunkName is the one-way call whose only argument is a piece of a blob.
const blobChunkName = "storeBlobChunk"

// The exact form of the call, as clients send it, with the length of the piece behind the beginning:
//
//	pickle                                        msgpack
//	80 03 28 4b 00 88 58 0e000000 name 42 len32   94 00 c3 ae name 91 c5 len16
//	piece                                         piece
//	85 74 2e
const (
	blobChunkPickle    = pickleHead + pickleCall + "X\x0e\x00\x00\x00storeBlobChunkB"
	blobChunkPickleEnd = "\x85" + pickleTail
	blobChunkMsgpack   = msgpackHead + msgpackCall + "\xae" + blobChunkName + "\x91\xc5"
)

// blobChunkLen is how long a frame is at least that is read as a BlobChunk.
const blobChunkLen = 4 << 10

// blobChunkAhead is how many bytes behind a piece are read with its end: the beginning of the next one.
const blobChunkAhead = headLen + len(blobChunkPickle) + 4

// BlobChunk waits for the next frame and reports whether it is a piece of a blob that a client sends,
// of a usual size, in its usual form; n is the number of its bytes. They are read with ReadChunk, all
// of them, before anything else is read. If it is something else, or there is an error, Next returns
// that.
func (r *Reader) BlobChunk(e Encoding) (n int, ok bool) {
	r.Release()
	begin, end := blobChunkPickle, blobChunkPickleEnd
	lenBytes := 4
	if e == Msgpack {
		begin, end, lenBytes = blobChunkMsgpack, "", 2
	}
	head := headLen + len(begin) + lenBytes
	if r.err != nil {
		return 0, false
	}
	if r.err = r.fillUpTo(headLen, head); r.err != nil {
		return 0, false
	}
	size := int(binary.BigEndian.Uint32(r.buf[r.start:]))
	if size < blobChunkLen || size > bufferLen-headLen || int64(size) > r.limit {
		return 0, false
	}
	if r.err = r.fillUpTo(head, head); r.err != nil {
		return 0, false
	}
	b := r.buf[r.start+headLen : r.start+head]
	if string(b[:len(begin)]) != begin {
		return 0, false
	}
	if b = b[len(begin):]; e == Msgpack {
		n = int(binary.BigEndian.Uint16(b))
	} else {
		n = int(binary.LittleEndian.Uint32(b))
	}
	if headLen+size != head+n+len(end) {
		return 0, false
	}
	r.start += head
	r.chunk, r.chunkEnd = n, end
	return n, true
}

// ReadChunk reads the next bytes of the piece, as many as b has room for.
func (r *Reader) ReadChunk(b []byte) error {
	r.chunk -= len(b)
	n := copy(b, r.buf[r.start:r.end])
	r.start += n
	for n < len(b) && r.err == nil {
		var m int
		m, r.err = r.read(b[n:])
		if n += m; n == len(b) {
			r.err = nil // it comes again
		}
	}
	if r.err == nil && r.chunk == 0 {
		r.err = r.endChunk()
	}
	r.err = unexpected(r.err)
	return r.err
}

// endChunk reads what is behind a piece.
func (r *Reader) endChunk() error {
	n := len(r.chunkEnd)
	if err := r.fillUpTo(n, n+blobChunkAhead); err != nil {
		return err
	}
	if got := r.buf[r.start : r.start+n]; string(got) != r.chunkEnd {
		return fmt.Errorf("%q behind a piece of a blob", got)
	}
	r.start += n
	return nil
}
