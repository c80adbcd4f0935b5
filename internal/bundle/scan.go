package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Found is a member of a decoded frame.
type Found struct {
	Name    layout.Name
	Content []byte // until the next step
	Frame   Frame
	Block   uint16 // where the content begins, as in [Place]
}

const (
	zstdMagic      = 0xFD2FB528
	anySkippable   = 0x184D2A50 // and the 15 after it
	mostFrameBytes = maxContent + 1<<20
	mostFrameHead  = 4 + 1 + 1 + 4 + 8
)

// Scan yields the members of a file without its index, for one that is damaged or
// missing: frame by frame. A frame that cannot be read is an error, and the scan goes on behind
// it, with the next one that can be found. One that cannot be read just now, because memory is scarce for
// example, is no damage: the scan ends with the error.
func Scan(r io.ReaderAt, size int64, path string) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		b := &Reader{r: r, size: size, path: path, Info: Info{dataEnd: size}}
		var packed, plain []byte
		for at := int64(0); at < size; {
			length, blocks, err := b.frameAt(at)
			f := Frame{Offset: at, Size: length, Blocks: blocks}
			if err == nil && blocks > 0 {
				packed = append(packed[:0], make([]byte, length)...)
				if err = b.readAt(packed, at); err == nil {
					plain, err = b.Decode(f, packed, plain)
				}
			}
			if vfs.Passes(err) {
				yield(Found{}, err)
				return
			}
			if err != nil {
				if !yield(Found{}, b.corrupt(at, err, "a frame cannot be read")) {
					return
				}
				if at, err = b.nextFrame(at + 1); err != nil {
					yield(Found{}, err)
					return
				}
				continue
			}
			at += length
			if blocks == 0 {
				continue
			}
			f.Sum = checksum(packed)
			for m, err := range b.Members(f, plain) {
				if !yield(m, err) {
					return
				}
			}
		}
	}
}

// Members yields the members of a decoded frame, in their order. It ends with its first error.
func (r *Reader) Members(f Frame, plain []byte) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		for rest := plain; len(rest) > 0 && !isZero(rest); {
			at := len(plain) - len(rest)
			n, content, behind, err := parseMember(rest)
			if err != nil {
				yield(Found{}, r.corrupt(f.Offset, err, "a frame cannot be read"))
				return
			}
			if rest = behind; !yield(Found{Name: n, Content: content, Frame: f, Block: uint16(at/tarBlock + 1)}, nil) {
				return
			}
		}
	}
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// frameAt returns the length of the frame at an offset, and how many blocks of tar it decodes
// to; 0: it is skippable.
func (r *Reader) frameAt(at int64) (length int64, blocks uint32, err error) {
	head := make([]byte, min(mostFrameHead, r.size-at))
	if err := r.readAt(head, at); err != nil {
		return 0, 0, err
	}
	if len(head) < 8 {
		return 0, 0, fmt.Errorf("%d bytes are left, too few for a frame", len(head))
	}
	magic := binary.LittleEndian.Uint32(head)
	if magic&^0xF == anySkippable {
		length = skippableHead + int64(binary.LittleEndian.Uint32(head[4:]))
		if at+length > r.size {
			return 0, 0, fmt.Errorf("a skippable frame of %d bytes, and %d are left", length, r.size-at)
		}
		return length, 0, nil
	}
	if magic != zstdMagic {
		return 0, 0, fmt.Errorf("the magic %08x is not that of a frame", magic)
	}
	// RFC 8878, 3.1.1.1: descriptor, window, dictionary, size of the content.
	d := head[4]
	single := d&0x20 != 0
	n := 5 + []int{0, 1, 2, 4}[d&3]
	if !single {
		n++
	}
	var content uint64
	switch d >> 6 {
	case 0:
		if !single || len(head) < n+1 {
			return 0, 0, errors.New("the frame does not say its size")
		}
		content = uint64(head[n])
		n++
	case 1:
		if len(head) < n+2 {
			return 0, 0, io.ErrUnexpectedEOF
		}
		content = uint64(binary.LittleEndian.Uint16(head[n:])) + 256
		n += 2
	case 2:
		if len(head) < n+4 {
			return 0, 0, io.ErrUnexpectedEOF
		}
		content = uint64(binary.LittleEndian.Uint32(head[n:]))
		n += 4
	default:
		if len(head) < n+8 {
			return 0, 0, io.ErrUnexpectedEOF
		}
		content = binary.LittleEndian.Uint64(head[n:])
		n += 8
	}
	if content == 0 || content%tarBlock != 0 || content > maxContent+2*tarBlock {
		return 0, 0, fmt.Errorf("the frame decodes to %d bytes, which is not a piece of tar", content)
	}
	length = int64(n)
	for last := false; !last; {
		var b [3]byte
		if at+length+3 > r.size {
			return 0, 0, errors.New("the frame ends behind the file")
		}
		if err := r.readAt(b[:], at+length); err != nil {
			return 0, 0, err
		}
		h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		last = h&1 != 0
		n := int64(h >> 3)
		switch h >> 1 & 3 {
		case 1:
			n = 1
		case 3:
			return 0, 0, errors.New("the frame has a block of a reserved type")
		}
		if length += 3 + n; length > mostFrameBytes {
			return 0, 0, errors.New("the frame is too long")
		}
	}
	if d&4 != 0 {
		length += 4
	}
	if at+length > r.size {
		return 0, 0, errors.New("the frame ends behind the file")
	}
	if int64(content) > mostDecoded(length) {
		return 0, 0, fmt.Errorf("the frame decodes to %d bytes, which no frame of %d bytes does", content, length)
	}
	return length, uint32(content / tarBlock), nil
}

// mostDecoded is how many bytes a frame of some bytes decodes to at most: 128 KiB for each block,
// which has 4 bytes at least.
func mostDecoded(length int64) int64 { return (length/4 + 1) << 17 }

// nextFrame returns where a frame may begin, from an offset on; the size if nowhere.
func (r *Reader) nextFrame(at int64) (int64, error) {
	const chunk = 64 << 10
	buf := make([]byte, chunk+3)
	for ; at < r.size; at += chunk {
		b := buf[:min(int64(len(buf)), r.size-at)]
		if err := r.readAt(b, at); err != nil {
			return 0, err
		}
		for k := 0; k+4 <= len(b); k++ {
			magic := binary.LittleEndian.Uint32(b[k:])
			if magic == zstdMagic || magic == skippableMagic {
				return at + int64(k), nil
			}
		}
	}
	return r.size, nil
}
