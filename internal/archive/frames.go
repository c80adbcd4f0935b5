package archive

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// frameReader decodes frames that follow each other. Stored ones it hands over as they are, without
// the copies of a decoder. It is used by one goroutine.
type frameReader struct {
	in      *bufio.Reader
	decoder *zstd.Decoder // nil until a frame is compressed
	packed  bool          // the decoder reads frames

	stored bool // within a stored frame
	size   int  // bytes of it that are to come in further blocks
	last   bool // no block follows
	left   int  // bytes of this block
}

// inBuffer is the size of the buffer for the heads of frames and blocks. Longer reads pass it by.
const inBuffer = 4 << 10

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{in: bufio.NewReaderSize(r, inBuffer)}
}

// Close gives memory back.
func (f *frameReader) Close() {
	if f.decoder != nil {
		f.decoder.Close()
	}
}

var (
	// A frame without a checksum that is compressed is none of [Writer].
	errStoredBlock = errors.New("a stored frame has a block that is not stored")
	errStoredSize  = errors.New("a stored frame does not have the size that it says")
)

// Read implements [io.Reader].
func (f *frameReader) Read(b []byte) (int, error) {
	for {
		switch {
		case f.packed:
			n, err := f.decoder.Read(b)
			if errors.Is(err, io.EOF) {
				f.packed, err = false, nil
			}
			if n > 0 || err != nil {
				return n, err
			}
		case f.left > 0:
			n, err := f.in.Read(b[:min(len(b), f.left)])
			if f.left -= n; n > 0 && errors.Is(err, io.EOF) {
				err = nil // it comes again
			}
			return n, unexpected(err)
		case f.stored && !f.last:
			if err := f.block(); err != nil {
				return 0, err
			}
		case f.stored && f.size > 0:
			return 0, errStoredSize
		default:
			if err := f.frame(); err != nil {
				return 0, err
			}
		}
		if len(b) == 0 {
			return 0, nil
		}
	}
}

// unexpected is the error of a read within a frame.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frame begins with the next frame.
func (f *frameReader) frame() error {
	f.stored = false
	head, err := f.in.Peek(storedHead)
	if len(head) == 0 {
		return err
	}
	if isStored(head) {
		f.stored, f.last, f.size = true, false, int(binary.LittleEndian.Uint32(head[5:]))
		_, err := f.in.Discard(storedHead)
		return err
	}
	if f.decoder == nil {
		if f.decoder, err = newDecoder(nil); err != nil {
			return err
		}
	}
	f.packed = true
	return f.decoder.Reset(&packedFrames{in: f.in})
}

// isStored reports whether a frame is stored, by its first bytes.
func isStored(head []byte) bool {
	return len(head) >= storedHead && binary.LittleEndian.Uint32(head) == storedMagic &&
		head[4] == storedDescriptor
}

// block begins with the next block of a stored frame.
func (f *frameReader) block() error {
	head, err := f.in.Peek(storedBlockHead)
	if len(head) < storedBlockHead {
		return unexpected(err)
	}
	h := blockHead(head)
	if h.kind != 0 {
		return errStoredBlock
	}
	if f.size -= h.size; f.size < 0 {
		return errStoredSize
	}
	f.left, f.last = h.size, h.last
	_, err = f.in.Discard(storedBlockHead)
	return err
}

// block is the head of a block of a frame: RFC 8878, 3.1.1.2.
type block struct {
	last bool
	kind int // 0: as it is; 1: one byte, repeated; 2: compressed
	size int
}

func blockHead(b []byte) block {
	h := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	return block{h&1 != 0, h >> 1 & 3, h >> 3}
}

// packedFrames reads frames as they are, up to a stored one. What it does not understand it hands
// over, with all that follows: it is for the decoder to find fault with.
type packedFrames struct {
	in   *bufio.Reader
	left int  // bytes up to the next head
	body bool // that is of a block
	sum  int  // bytes of a checksum behind the last block
	rest bool // hand everything over
}

// Read implements [io.Reader].
func (p *packedFrames) Read(b []byte) (int, error) {
	for p.left == 0 && !p.rest {
		if p.body {
			p.block()
			continue
		}
		head, _ := p.in.Peek(storedHead) // an error comes back when it is read
		if isStored(head) {
			return 0, io.EOF
		}
		p.frame(head)
	}
	if !p.rest {
		b = b[:min(len(b), p.left)]
	}
	n, err := p.in.Read(b)
	p.left -= n
	return n, err
}

// frame looks at the head of a frame: RFC 8878, 3.1.1.1.
func (p *packedFrames) frame(head []byte) {
	if len(head) < storedHead || binary.LittleEndian.Uint32(head) != storedMagic {
		p.rest = true
		return
	}
	d := head[4]
	// dictionary, size of the content
	p.left = 5 + [4]int{0, 1, 2, 4}[d&3] + [4]int{0, 2, 4, 8}[d>>6]
	if single := d&0x20 != 0; !single || d>>6 == 0 {
		p.left++ // window, or a size of one byte
	}
	p.sum = 0
	if d&4 != 0 {
		p.sum = 4
	}
	p.body = true
}

func (p *packedFrames) block() {
	head, _ := p.in.Peek(storedBlockHead) // the same
	if len(head) < storedBlockHead {
		p.rest = true
		return
	}
	h := blockHead(head)
	if h.kind == 1 {
		h.size = 1
	}
	if p.left = storedBlockHead + h.size; h.last {
		p.left += p.sum
		p.body = false
	}
}
