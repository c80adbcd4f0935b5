package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
)

const (
	magic      = "DSlog\r\n\x1a"
	version    = 1
	headerSize = 64
	frameHead  = 16
	alignment  = 8

	// flagDurable: everything before the end of the segment before was durable
	// when this header was written.
	flagDurable = 1
)

// castagnoli is never changed.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Position is a place in the log.
type Position struct {
	Segment uint64 // number of the segment
	Offset  int64  // bytes from the start of its file
}

func (p Position) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, p.Segment), uint64(p.Offset))
}

// position reads 16 bytes.
func position(b []byte) Position {
	return Position{binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:]))}
}

// header is the head of a segment.
type header struct {
	seq      uint64
	identity [16]byte
	durable  bool   // flagDurable
	oldest   uint64 // oldest segment that is needed
	previous int64  // end of the segment before; 0 = none
}

func (h *header) append(b []byte) []byte {
	start := len(b)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, version)
	var flags uint32
	if h.durable {
		flags = flagDurable
	}
	b = binary.BigEndian.AppendUint32(b, flags)
	b = binary.BigEndian.AppendUint64(b, h.seq)
	b = append(b, h.identity[:]...)
	b = binary.BigEndian.AppendUint64(b, h.oldest)
	b = binary.BigEndian.AppendUint64(b, uint64(h.previous))
	b = binary.BigEndian.AppendUint32(b, 0)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parseHeader reads the first bytes of a segment. The error describes the fault; *layout.NewerError if
// only the version is wrong. Magic, version and checksum keep their places in all versions.
func parseHeader(b []byte) (header, error) {
	var h header
	if len(b) < headerSize {
		return h, fmt.Errorf("the header has %d bytes, not %d", len(b), headerSize)
	}
	b = b[:headerSize]
	if string(b[:8]) != magic {
		return h, fmt.Errorf("the header does not start as that of a segment of the log")
	}
	if want, got := binary.BigEndian.Uint32(b[60:]), crc32.Checksum(b[:60], castagnoli); want != got {
		return h, fmt.Errorf("the checksum of the header is %08X, not %08X", got, want)
	}
	if v := binary.BigEndian.Uint32(b[8:]); v > version {
		return h, &layout.NewerError{Kind: "segment of the log", Version: fmt.Sprint(v), Known: fmt.Sprint(version)}
	} else if v != version {
		return h, fmt.Errorf("the header has format version %d", v)
	}
	h.durable = binary.BigEndian.Uint32(b[12:])&flagDurable != 0
	h.seq = binary.BigEndian.Uint64(b[16:])
	copy(h.identity[:], b[24:])
	h.oldest = binary.BigEndian.Uint64(b[40:])
	h.previous = int64(binary.BigEndian.Uint64(b[48:]))
	if h.oldest > h.seq || h.previous < 0 {
		return h, fmt.Errorf("the header contradicts itself")
	}
	return h, nil
}

// frameType is the kind of payload of a frame.
type frameType byte

const (
	frameData frameType = iota + 1
	frameMeta
	frameCommit
	frameMark
)

// seal is the CRC over identity and segment number, with which the CRC of
// every frame's head starts.
type seal uint32

func newSeal(identity [16]byte, seq uint64) seal {
	b := binary.BigEndian.AppendUint64(identity[:len(identity):len(identity)], seq)
	return seal(crc32.Checksum(b, castagnoli))
}

// sum returns the CRC of the head of a frame, of which b are the bytes 4..16.
func (s seal) sum(offset int64, b []byte) uint32 {
	var buf [8 + frameHead - 4]byte
	binary.BigEndian.PutUint64(buf[:], uint64(offset))
	copy(buf[8:], b)
	return crc32.Update(uint32(s), castagnoli, buf[:])
}

// appendHead appends the head of a frame.
func (s seal) appendHead(b []byte, offset int64, t frameType, length, payloadSum uint32) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, length)
	b = binary.BigEndian.AppendUint32(b, payloadSum)
	b = append(b, byte(t), 0, 0, 0)
	binary.BigEndian.PutUint32(b[start:], s.sum(offset, b[start+4:]))
	return b
}

// appendFrame appends a whole frame with a small payload.
func (s seal) appendFrame(b []byte, offset int64, t frameType, payload []byte) []byte {
	b = s.appendHead(b, offset, t, uint32(len(payload)), crc32.Checksum(payload, castagnoli))
	return appendPadding(append(b, payload...), len(payload))
}

// head is the head of a valid frame.
type head struct {
	t      frameType
	length uint32
	sum    uint32
}

// parseHead reads the 16 bytes of a frame's head. It returns false if they are
// none, or the head of a frame that belongs somewhere else.
func (s seal) parseHead(b []byte, offset int64) (head, bool) {
	h := head{frameType(b[12]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])}
	if h.t < frameData || h.t > frameMark || b[13]|b[14]|b[15] != 0 {
		return head{}, false
	}
	if binary.BigEndian.Uint32(b) != s.sum(offset, b[4:frameHead]) {
		return head{}, false
	}
	return h, true
}

// frameSize returns the bytes that a frame takes in a segment.
func frameSize(payload int64) int64 {
	return frameHead + (payload+alignment-1)&^(alignment-1)
}

func appendPadding(b []byte, payload int) []byte {
	var zeros [alignment]byte
	return append(b, zeros[:-payload&(alignment-1)]...)
}

const (
	segmentPrefix = "log-"
	sparePrefix   = "spare-"
)

// segmentName returns the name of a segment within its directory.
func segmentName(seq uint64) string { return fmt.Sprintf("%s%016X", segmentPrefix, seq) }

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (seq uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, segmentPrefix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	for i := range len(digits) {
		switch c := digits[i]; {
		case c >= '0' && c <= '9':
			seq = seq<<4 | uint64(c-'0')
		case c >= 'A' && c <= 'F':
			seq = seq<<4 | uint64(c-'A'+10)
		default:
			return 0, false
		}
	}
	return seq, true
}

// isSpare reports whether a name is that of a spare segment.
func isSpare(name string) bool {
	digits, ok := strings.CutPrefix(name, sparePrefix)
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// spareNumber is the number in the name of a spare segment; 0 if it is none.
func spareNumber(name string) int {
	if !isSpare(name) {
		return 0
	}
	n, err := strconv.Atoi(name[len(sparePrefix):])
	if err != nil || n > math.MaxInt/2 { // no log makes so many
		return 0
	}
	return n
}

// IsSegment reports whether a name in the journal directory is that of a file
// of the log, a segment or a spare one.
func IsSegment(name string) bool {
	_, ok := parseSegmentName(name)
	return ok || isSpare(name)
}
