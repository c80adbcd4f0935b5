package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
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

// maxPieces is into how many pieces one read goes, at most.
const maxPieces = 8

// piecesReader is a connection that can read into several places with one call.
type piecesReader interface {
	io.Reader
	// ReadPieces is Read into the first place until it is full, then into the next one. It keeps none
	// of them.
	ReadPieces(places [][]byte) (int, error)
}

// chunks are the pieces of a blob that are being read.
type chunks struct {
	left int    // bytes of the piece to come
	size int    // of the whole piece
	head string // before it, with the length of the frame
	end  string // behind it

	between [maxPieces][]byte // for the end of a piece and the head of the next one
	places  [][]byte          // of one read

	early *Early // nil: there is no bound
	ahead []byte // read with a piece, of another form than was guessed, and not taken yet
	held  int    // of early: the length of all that ahead is the rest of
}

// Early bounds the memory of bytes that were read with a piece of a blob and are none. While there are
// as many, all Readers that share it read one piece at a time.
type Early struct {
	most int64
	held atomic.Int64
}

// NewEarly returns a bound in bytes. Each Reader that reads pieces when it is reached may add the room
// that it has for them.
func NewEarly(most int64) *Early { return &Early{most: most} }

// Held returns how many bytes there are.
func (e *Early) Held() int64 { return e.held.Load() }

func (e *Early) full() bool { return e != nil && e.held.Load() >= e.most }

func (e *Early) add(n int) {
	if e != nil {
		e.held.Add(int64(n))
	}
}

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
	c := &r.chunks
	if h := r.buf[r.start : r.start+head]; string(h) != c.head {
		c.head = string(h)
	}
	r.start += head
	c.left, c.size, c.end = n, n, end
	return n, true
}

// ReadChunk reads bytes of the piece into b, of which there is at least one, and returns how many.
// Where b has room for more, and the connection is a [piecesReader], it goes on with the pieces that
// follow, if they have the same length: begun is how many bytes the new ones have in all.
func (r *Reader) ReadChunk(b []byte) (n, begun int, err error) {
	if r.err != nil {
		return 0, 0, r.err
	}
	c := &r.chunks
	first := b[:min(len(b), c.left)]
	switch conn, ok := r.r.(piecesReader); {
	case r.start < r.end:
		n = copy(first, r.buf[r.start:r.end])
		r.start += n
		c.left -= n
	case ok && len(b) > c.left && len(c.ahead) == 0 && !c.early.full():
		n, begun, r.err = r.readPieces(conn, b)
	default:
		n, r.err = r.read(first)
		c.left -= n
	}
	if n > 0 {
		r.err = nil // it comes again
	}
	if r.err == nil && c.left == 0 {
		r.err = r.endChunk()
	}
	r.err = unexpected(r.err)
	return n, begun, r.err
}

// readPieces is ReadChunk of the piece and those that follow, with one read: where the end of a piece
// and the head of the next one are guessed to come, it goes on in another place.
func (r *Reader) readPieces(conn piecesReader, b []byte) (n, begun int, err error) {
	c := &r.chunks
	gap := len(c.end) + len(c.head)
	c.places = append(c.places[:0], b[:c.left])
	for at, k := c.left, 0; at < len(b) && k < maxPieces; k++ {
		if cap(c.between[k]) < gap {
			c.between[k] = make([]byte, gap)
		}
		next := b[at:min(at+c.size, len(b))]
		c.places = append(c.places, c.between[k][:gap], next)
		at += len(next)
	}
	defer clear(c.places) // b is the caller's again, who may need it no longer
	left, err := r.some(func() (int, error) { return conn.ReadPieces(c.places) })
	for i, place := range c.places {
		got := place[:min(len(place), left)]
		left -= len(got)
		switch content := i%2 == 0; {
		case content:
			n += len(got)
			c.left -= len(got)
		case string(got) == c.end+c.head:
			begun += c.size
			c.left = c.size
		default:
			c.held = len(got) + left
			c.early.add(c.held)
			c.ahead = append(make([]byte, 0, c.held), got...)
			for _, place := range c.places[i+1:] {
				got := place[:min(len(place), left)]
				c.ahead = append(c.ahead, got...)
				left -= len(got)
			}
			return n, begun, err
		}
		if left == 0 {
			break
		}
	}
	return n, begun, err
}

// takeAhead gives bytes that were read with a piece.
func (c *chunks) takeAhead(b []byte) int {
	n := copy(b, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.dropAhead()
	}
	return n
}

func (c *chunks) dropAhead() {
	c.early.add(-c.held)
	c.ahead, c.held = nil, 0
}

// endChunk reads the end of a piece.
func (r *Reader) endChunk() error {
	n := len(r.chunks.end)
	if err := r.fillUpTo(n, n+blobChunkAhead); err != nil {
		return err
	}
	if got := r.buf[r.start : r.start+n]; string(got) != r.chunks.end {
		return fmt.Errorf("%q behind a piece of a blob", got)
	}
	r.start += n
	return nil
}
