package current

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/dirstorage/dirstorage/zodb"
)

// The file begins with two copies of a header; the whole one with the higher sequence
// counts. They are written in turn, and each has a file with a note.
const (
	headerSize  = 512
	headerSpace = 4096 // where the pages begin

	magic   = "DScurrnt"
	version = 5
)

// flagSparse: there is no table, because it would be too large.
const flagSparse = 1

type header struct {
	identity [16]byte
	sequence uint64
	upTo     zodb.TID
	pages    uint32
	extents  uint32 // that are listed
	objects  uint64
	flags    uint32
	note     [32]byte // the SHA-256 of the note
}

func (h *header) append(b []byte) []byte {
	at := len(b)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint32(b, slotsInPage)
	b = append(b, h.identity[:]...)
	b = binary.BigEndian.AppendUint64(b, h.sequence)
	b = h.upTo.Append(b)
	b = binary.BigEndian.AppendUint32(b, h.pages)
	b = binary.BigEndian.AppendUint32(b, h.extents)
	b = binary.BigEndian.AppendUint64(b, h.objects)
	b = binary.BigEndian.AppendUint32(b, h.flags)
	b = append(b, h.note[:]...)
	b = append(b, make([]byte, headerSize-4-(len(b)-at))...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

func parseHeader(b []byte) (h header, ok bool) {
	if string(b[:8]) != magic || binary.BigEndian.Uint32(b[8:]) != version || binary.BigEndian.Uint32(b[12:]) != slotsInPage ||
		binary.BigEndian.Uint32(b[headerSize-4:]) != crc32.Checksum(b[:headerSize-4], castagnoli) {
		return header{}, false
	}
	return header{
		identity: [16]byte(b[16:]), sequence: binary.BigEndian.Uint64(b[32:]), upTo: zodb.TIDFromBytes(b[40:]),
		pages: binary.BigEndian.Uint32(b[48:]), extents: binary.BigEndian.Uint32(b[52:]), objects: binary.BigEndian.Uint64(b[56:]),
		flags: binary.BigEndian.Uint32(b[64:]), note: [32]byte(b[68:]),
	}, true
}
