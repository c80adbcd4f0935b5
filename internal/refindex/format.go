package refindex

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/dirstorage/dirstorage/zodb"
)

// The file, integers big-endian:
//
//	header       64 bytes, see header
//	blocks       see block
//	first ones   for each block its first target and its offset, 8 bytes each
//	4 bytes      CRC32C of the first ones
//
// A block:
//
//	offset  length
//	     0  4       CRC32C of: offset of the block in the file (8 bytes), bytes 4 to the end
//	     4  4       number of pairs
//	     8  …       pairs of a target and an object that refers to it, ascending
//
// A pair is the distance from the target before, as uvarint; then, if that is 0,
// the distance from the source before, as uvarint, else the source less the
// target, as varint. The first pair of a block has the target itself and counts
// as “else”. Objects are mostly made together with those that they refer to, so
// that this is a small number.
const (
	magic      = "DSref\r\n\x1a"
	version    = 1
	headerSize = 64
	blockHead  = 8
	firstSize  = 16
	tailSize   = 4

	// blockSize is the size from which on a block takes no more pairs.
	blockSize = 16 << 10
	// maxPair is the size of the longest pair.
	maxPair = 2 * binary.MaxVarintLen64
)

// castagnoli is never changed.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pair is one reference.
type pair struct{ to, from zodb.OID }

func comparePairs(a, b pair) int {
	switch {
	case a.to < b.to || a.to == b.to && a.from < b.from:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// coder turns ascending pairs into bytes and back. Its zero value is at the
// beginning of a block or run.
type coder struct {
	last  pair
	begun bool
}

// append appends a pair, which must be greater than the one before.
func (c *coder) append(b []byte, p pair) []byte {
	distance := uint64(p.to - c.last.to)
	b = binary.AppendUvarint(b, distance)
	if distance == 0 && c.begun {
		b = binary.AppendUvarint(b, uint64(p.from-c.last.from))
	} else {
		b = binary.AppendVarint(b, int64(p.from-p.to)) // modulo 2^64
	}
	c.last, c.begun = p, true
	return b
}

var errPairs = errors.New("its pairs do not ascend")

// next reads the pair behind the last one.
func (c *coder) next(r io.ByteReader) (pair, error) {
	distance, err := binary.ReadUvarint(r)
	if err != nil {
		return pair{}, cutOff(err)
	}
	if distance > uint64(math.MaxUint64-c.last.to) {
		return pair{}, errPairs
	}
	p := pair{to: c.last.to + zodb.OID(distance)}
	if distance == 0 && c.begun {
		more, err := binary.ReadUvarint(r)
		if err != nil {
			return pair{}, cutOff(err)
		}
		if more == 0 || more > uint64(math.MaxUint64-c.last.from) {
			return pair{}, errPairs
		}
		p.from = c.last.from + zodb.OID(more)
	} else {
		relative, err := binary.ReadVarint(r)
		if err != nil {
			return pair{}, cutOff(err)
		}
		p.from = p.to + zodb.OID(relative) // modulo 2^64
	}
	c.last, c.begun = p, true
	return p, nil
}

// cutOff makes the end of the bytes within a pair no ordinary end.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// header is the head of the file:
//
//	offset  length
//	     0  8       magic
//	     8  4       version, 1
//	    12  4       number of damaged objects, at most 2^32-1
//	    16  8       tid up to which it holds
//	    24  8       number of references
//	    32  8       number of targets
//	    40  8       number of objects whose references could not be seen, the damaged ones too
//	    48  8       offset of the first ones; they are as many as there are blocks
//	    56  4       number of blocks
//	    60  4       CRC32C of bytes 0 to 59
type header struct {
	tid    zodb.TID
	stats  Stats
	firsts int64
	blocks uint32
}

func (h *header) append(b []byte) []byte {
	start := len(b)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(min(h.stats.Damaged, math.MaxUint32)))
	b = h.tid.Append(b)
	for _, n := range []int64{h.stats.References, h.stats.Targets, h.stats.Skipped, h.firsts} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = binary.BigEndian.AppendUint32(b, h.blocks)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parse reads a header out of the beginning of a file of that size. It returns the fault, empty if
// there is none.
func (h *header) parse(b []byte, size int64) (wrong string) {
	if len(b) < headerSize {
		return "it is shorter than a header"
	}
	if !bytes.HasPrefix(b, []byte(magic)) {
		return "it does not begin like an index of references"
	}
	if got := crc32.Checksum(b[:60], castagnoli); got != binary.BigEndian.Uint32(b[60:]) {
		return "the checksum of its header is wrong"
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != version {
		return fmt.Sprintf("it has version %d; known is %d", v, version)
	}
	h.tid = zodb.TIDFromBytes(b[16:])
	h.stats = Stats{
		References: int64(binary.BigEndian.Uint64(b[24:])),
		Targets:    int64(binary.BigEndian.Uint64(b[32:])),
		Skipped:    int64(binary.BigEndian.Uint64(b[40:])),
		Damaged:    int64(binary.BigEndian.Uint32(b[12:])),
		Bytes:      size,
	}
	h.firsts = int64(binary.BigEndian.Uint64(b[48:]))
	h.blocks = binary.BigEndian.Uint32(b[56:])
	if h.firsts < headerSize || h.firsts > size || size-h.firsts != int64(h.blocks)*firstSize+tailSize {
		return fmt.Sprintf("it has %d bytes, which are not those that its header counts", size)
	}
	return ""
}

// sealBlock fills in the head of a block.
func sealBlock(b []byte, offset int64, pairs uint32) {
	binary.BigEndian.PutUint32(b[4:], pairs)
	binary.BigEndian.PutUint32(b, blockSum(b, offset))
}

func blockSum(b []byte, offset int64) uint32 {
	sum := crc32.Checksum(binary.BigEndian.AppendUint64(nil, uint64(offset)), castagnoli)
	return crc32.Update(sum, castagnoli, b[4:])
}

// damage is the error about a file that was changed since it was written.
func damage(name string, offset int64, wrong string, cause error) error {
	return &zodb.CorruptError{Path: name, Offset: offset, Reason: "index of references: " + wrong + "; write it again", Err: cause}
}
