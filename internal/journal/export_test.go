package journal

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Names and sizes of the format, for the tests of package journal_test.
const (
	MinSegmentSize = minSegmentSize
	SegmentPrefix  = segmentPrefix
	DefaultSpares  = defaultSpares
	ZeroAhead      = zeroAhead
	MaxData        = maxData
	MaxBlobFile    = maxBlobFile
	FrameHead      = frameHead
	DataFixed      = dataFixed
	CommitFrame    = commitFrame
)

// FrameType is the kind of a frame.
type FrameType = frameType

// The kinds of frames.
const (
	FrameData   = frameData
	FrameMeta   = frameMeta
	FrameCommit = frameCommit
)

// FrameOffsets returns where the frames of one type are in a segment, in order.
func FrameOffsets(segment vfs.File, name string, identity [16]byte, t FrameType) (offsets []int64, err error) {
	info, err := segment.Stat()
	if err != nil {
		return nil, err
	}
	seq, _ := parseSegmentName(name)
	r := frameReader{w: window{f: segment, limit: info.Size}, seal: newSeal(identity, seq)}
	for offset := int64(headerSize); ; {
		fr, ok, err := r.frame(offset)
		if err != nil || !ok {
			return offsets, err
		}
		if fr.t == t {
			offsets = append(offsets, offset)
		}
		offset = fr.end
	}
}

// PutNewerHeader writes the header of a segment of the next version of the format.
func PutNewerHeader(segment []byte, identity [16]byte, seq uint64) {
	h := header{identity: identity, seq: seq, durable: true, oldest: 1, previous: 100}
	copy(segment, h.append(nil))
	binary.BigEndian.PutUint32(segment[8:], version+1)
	resum(segment)
}

// resum makes the checksum of a header fit.
func resum(b []byte) []byte {
	binary.BigEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// CloseFiles leaves the files as a crash would.
func (l *Log) CloseFiles() error { return l.closeFiles() }

// WrittenAhead tells of a segment, from the oldest: up to where it was written, the end of its
// frames, and its size.
func (l *Log) WrittenAhead(n int) (written, end, size int64) {
	s := l.segments[n]
	return s.written, s.end.Load(), s.size
}

// WithDefaults returns the options that a log goes by.
func (o Options) WithDefaults() Options { return o.withDefaults() }

// Size returns how long the frames of a vote are.
func (p *Pending) Size() (int64, error) { return p.size() }

// TakeHandle makes an entry one of the transaction of another.
func (e *Entry) TakeHandle(other *Entry) { e.handle = other.handle }

// NextHandle makes an entry one of another transaction.
func (e *Entry) NextHandle() { e.handle++ }
