package bundle

import (
	"encoding/binary"
	"math"

	"github.com/dirstorage/dirstorage/zodb"
)

// The index has blocks of entries. Each block has a fence: the key of its first entry, and its
// checksum.
const (
	placeSize = 28 // of an entry of a revision or a transaction
	frameSize = 24
	fenceSize = 20

	placesInBlock = 146 // 4,088 bytes
	framesInBlock = 170 // 4,080 bytes
)

func entrySize(section int) int64 {
	switch section {
	case sectionFrames:
		return frameSize
	case sectionFences:
		return fenceSize
	}
	return placeSize
}

func inBlock(section int) int64 {
	if section == sectionFrames {
		return framesInBlock
	}
	return placesInBlock
}

// blocksOf returns how many blocks n entries of a section take; the fences have none.
func blocksOf(section int, n int64) int64 {
	if section == sectionFences {
		return 0
	}
	return (n + inBlock(section) - 1) / inBlock(section)
}

// Flags of an entry.
const (
	FlagGone   = 1 << iota // the revision has no data: the object does not exist from then on
	FlagBlob               // it has a blob
	FlagUndo               // its data were copied from an older revision by an undo
	FlagPacked             // the transaction is a copy of one that was packed
	allFlags   = 1<<iota - 1
)

// tarBlock is the unit of places in a tar.
const tarBlock = 512

// Place is where the content of a member is.
type Place struct {
	Frame  uint32 // the frame that holds it
	Block  uint16 // where it begins in the decoded frame, in units of 512 bytes
	Flags  uint16
	Length uint32 // of the content in bytes
}

// Revision is an entry of the index.
type Revision struct {
	OID zodb.OID
	TID zodb.TID
	Place
}

// Transaction is an entry of the index.
type Transaction struct {
	TID zodb.TID
	Place
	FirstFrame uint32 // where the header of its first member is
	FirstBlock uint16
}

// Frame says where a frame is.
type Frame struct {
	Offset int64  // in the file
	Size   int64  // in the file
	Blocks uint32 // of tar that it decodes to, 512 bytes each
	Sum    uint32 // CRC-32C of its bytes in the file
}

func (p *Place) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, p.Frame)
	b = binary.BigEndian.AppendUint16(b, p.Block)
	b = binary.BigEndian.AppendUint16(b, p.Flags)
	return binary.BigEndian.AppendUint32(b, p.Length)
}

func parsePlace(b []byte) Place {
	return Place{Frame: binary.BigEndian.Uint32(b), Block: binary.BigEndian.Uint16(b[4:]), Flags: binary.BigEndian.Uint16(b[6:]), Length: binary.BigEndian.Uint32(b[8:])}
}

func (r *Revision) append(b []byte) []byte {
	return r.Place.append(r.TID.Append(r.OID.Append(b)))
}

func parseRevision(b []byte) Revision {
	return Revision{OID: zodb.OIDFromBytes(b), TID: zodb.TIDFromBytes(b[8:]), Place: parsePlace(b[16:])}
}

func (t *Transaction) append(b []byte) []byte {
	b = t.Place.append(t.TID.Append(b))
	b = binary.BigEndian.AppendUint32(b, t.FirstFrame)
	b = binary.BigEndian.AppendUint16(b, t.FirstBlock)
	return append(b, 0, 0)
}

func parseTransaction(b []byte) Transaction {
	return Transaction{TID: zodb.TIDFromBytes(b), Place: parsePlace(b[8:]), FirstFrame: binary.BigEndian.Uint32(b[20:]), FirstBlock: binary.BigEndian.Uint16(b[24:])}
}

func (f *Frame) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(f.Offset))
	b = binary.BigEndian.AppendUint64(b, uint64(f.Size))
	b = binary.BigEndian.AppendUint32(b, f.Blocks)
	return binary.BigEndian.AppendUint32(b, f.Sum)
}

func parseFrame(b []byte) Frame {
	return Frame{
		Offset: int64(binary.BigEndian.Uint64(b) & math.MaxInt64), Size: int64(binary.BigEndian.Uint64(b[8:]) & math.MaxInt64),
		Blocks: binary.BigEndian.Uint32(b[16:]), Sum: binary.BigEndian.Uint32(b[20:]),
	}
}

// key is the order of a section.
type key struct {
	first  uint64 // oid; tid of a transaction; offset of a frame
	second uint64 // tid of a revision
}

func (k key) less(other key) bool {
	return k.first < other.first || k.first == other.first && k.second < other.second
}

func keyOf(section int, b []byte) key {
	k := key{first: binary.BigEndian.Uint64(b)}
	if section == sectionRevisions {
		k.second = binary.BigEndian.Uint64(b[8:])
	}
	return k
}

type fence struct {
	key
	sum uint32
}

func (f *fence) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, f.first)
	b = binary.BigEndian.AppendUint64(b, f.second)
	return binary.BigEndian.AppendUint32(b, f.sum)
}

func parseFence(b []byte) fence {
	return fence{key{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, binary.BigEndian.Uint32(b[16:])}
}
