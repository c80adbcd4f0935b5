package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// headLen is the length of the length before a frame, in bytes.
const headLen = 4

// bufferLen is the usual size of a Reader's buffer, in bytes. Frames that fit are not copied.
const bufferLen = 64 << 10

// smallLen is its size before SetLimit, in bytes.
const smallLen = 512

// maxEmptyReads is how often a connection may return nothing without an error.
const maxEmptyReads = 100

// TooLargeError is a frame that is longer than the limit.
type TooLargeError struct{ Size, Limit int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a frame of %d bytes is longer than the limit of %d", e.Size, e.Limit)
}

// Reader reads frames (4 bytes of length, big-endian, then that number of bytes).
type Reader struct {
	r     io.Reader
	limit int64
	err   error // returned for ever

	buf        []byte // at least bufferLen, or smallLen
	start, end int    // read and not yet returned: buf[start:end]
	big        []byte // the frame that was too long for buf
	gate       Gate   // nil: none
	inside     int64  // size of the frame that has passed the gate; 0 = none

	chunks chunks
}

// Gate is asked before memory is made for a frame that does not fit into the buffer.
type Gate interface {
	// Enter is called when the length of a frame has arrived. It may wait.
	Enter(size int64) error
	// Arrived is called before each part of it is read: n bytes have come.
	Arrived(n, size int64) error
	// Leave is called when the frame is not used any more, also after an error.
	Leave(size int64)
}

// SetGate sets the gate for the frames to come.
func (r *Reader) SetGate(g Gate) { r.gate = g }

// SetEarly sets the bound for bytes that were read too early.
func (r *Reader) SetEarly(e *Early) { r.chunks.early = e }

// Close gives up everything. There is no other call after it.
func (r *Reader) Close() {
	r.Release()
	r.chunks.dropAhead()
}

// Release gives up the frame that was returned last, as the next call of Next does.
func (r *Reader) Release() {
	r.big = nil
	if r.inside > 0 {
		r.gate.Leave(r.inside)
		r.inside = 0
	}
}

// NewReader returns a Reader with a buffer for many small frames. limit is the
// largest frame in bytes.
func NewReader(r io.Reader, limit int64) *Reader {
	return NewReaderSize(r, limit, bufferLen)
}

// NewReaderSize returns a Reader with a buffer of size bytes, at least 64 KiB. With room for several
// pieces of a blob it reads them together.
func NewReaderSize(r io.Reader, limit int64, size int) *Reader {
	return &Reader{r: r, limit: limit, buf: make([]byte, max(size, bufferLen))}
}

// NewSmallReader returns a Reader that needs little memory until SetLimit is called, for
// a peer that may never say anything.
func NewSmallReader(r io.Reader, limit int64) *Reader {
	return &Reader{r: r, limit: limit, buf: make([]byte, smallLen)}
}

// SetLimit changes the largest frame in bytes for the frames to come, such as
// after a client has registered.
func (r *Reader) SetLimit(limit int64) {
	r.limit = limit
	if len(r.buf) < bufferLen {
		buf := make([]byte, bufferLen)
		r.start, r.end = 0, copy(buf, r.buf[r.start:r.end])
		r.buf = buf
	}
}

// Next returns the next frame, which is good until the call after. io.EOF at
// the end between two frames, io.ErrUnexpectedEOF within one, *TooLargeError.
// A large frame grows the memory only as its bytes arrive, and is given back afterwards.
// After an error each call returns the same error. A frame may be empty.
func (r *Reader) Next() ([]byte, error) {
	r.Release()
	if r.err != nil {
		return nil, r.err
	}
	frame, err := r.next()
	if err != nil {
		r.Release()
		r.err = err
	}
	return frame, err
}

func (r *Reader) next() ([]byte, error) {
	if err := r.fill(headLen); err != nil {
		return nil, err
	}
	size := int64(binary.BigEndian.Uint32(r.buf[r.start:]))
	if size > r.limit {
		return nil, &TooLargeError{Size: size, Limit: r.limit}
	}
	if size > int64(len(r.buf)-headLen) {
		return r.nextBig(size)
	}
	n := headLen + int(size)
	if err := r.fill(n); err != nil {
		return nil, err
	}
	frame := r.buf[r.start+headLen : r.start+n : r.start+n]
	r.start += n
	return frame, nil
}

// nextBig reads a frame that doesn't fit into the buffer.
func (r *Reader) nextBig(size int64) ([]byte, error) {
	if r.gate != nil {
		if err := r.gate.Enter(size); err != nil {
			return nil, err
		}
		r.inside = size
	}
	r.start += headLen
	// The memory is at most twice the bytes that have arrived.
	r.big = make([]byte, min(size, int64(len(r.buf))))
	n := copy(r.big, r.buf[r.start:r.end])
	r.start, r.end = 0, 0
	for int64(n) < size {
		if n == len(r.big) {
			grown := make([]byte, min(size, 2*int64(n)))
			copy(grown, r.big)
			r.big = grown
		}
		if r.gate != nil {
			if err := r.gate.Arrived(int64(n), size); err != nil {
				return nil, err
			}
		}
		m, err := r.read(r.big[n:])
		n += m
		if err != nil && int64(n) < size {
			return nil, unexpected(err)
		}
	}
	return r.big[:size:size], nil
}

// fill reads until the buffer has n bytes to return.
func (r *Reader) fill(n int) error {
	// Of a long frame no more than the length of the next one is read with it: the rest of that would
	// have to be moved to the start of the buffer.
	if n > len(r.buf)/2 {
		return r.fillUpTo(n, n+headLen)
	}
	return r.fillUpTo(n, len(r.buf))
}

// fillUpTo is fill, and reads no more than most, if there is room.
func (r *Reader) fillUpTo(n, most int) error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.start+n > len(r.buf) {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	limit := min(r.start+most, len(r.buf))
	for r.end-r.start < n {
		m, err := r.read(r.buf[r.end:limit])
		r.end += m
		if err != nil && r.end-r.start < n {
			if err == io.EOF && r.start == r.end {
				return io.EOF
			}
			return unexpected(err)
		}
	}
	return nil
}

// read reads at least one byte, or fails.
func (r *Reader) read(b []byte) (int, error) {
	if len(r.chunks.ahead) > 0 {
		return r.chunks.takeAhead(b), nil
	}
	return r.some(func() (int, error) { return r.r.Read(b) })
}

// some calls a read until it has at least one byte, or fails.
func (r *Reader) some(read func() (int, error)) (int, error) {
	for range maxEmptyReads {
		if n, err := read(); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// unexpected returns the meaning of an error within a frame.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Buffered reports whether a whole further frame has arrived, so that Next would
// return without reading from the connection.
func (r *Reader) Buffered() bool {
	if r.err != nil {
		return true
	}
	have := int64(r.end - r.start)
	if have < headLen {
		return false
	}
	size := int64(binary.BigEndian.Uint32(r.buf[r.start:]))
	return size > r.limit || have >= headLen+size
}

// AppendFrame calls f to append a payload to dst and puts its length before it.
// If f fails, or appends more than 4 GiB, dst is returned as it was.
func AppendFrame(dst []byte, f func([]byte) ([]byte, error)) ([]byte, error) {
	n := len(dst)
	out, err := f(append(dst, 0, 0, 0, 0))
	if err != nil {
		return dst, err
	}
	size := int64(len(out) - n - headLen)
	if size > math.MaxUint32 {
		return dst, &TooLargeError{Size: size, Limit: math.MaxUint32}
	}
	binary.BigEndian.PutUint32(out[n:], uint32(size))
	return out, nil
}
