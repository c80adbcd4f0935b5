package current

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/dirstorage/dirstorage/zodb"
)

// Slot says where the current revision of an object is. The place is a hint: a reader that
// follows it verifies that the revision is there, and else looks for the tid.
type Slot struct {
	TID    zodb.TID
	Bundle uint32 // a short name of the bundle
	Offset int64  // of the frame in it
	Size   uint32 // of the frame; 0: no place is known
	Block  uint16 // in the decoded frame
	Flags  uint16
}

// Removed is a flag of a slot beside those in the index of a bundle: a pack has removed the entry, and with
// it the object.
const Removed = 1 << 15

const (
	slotSize    = 32
	slotsInPage = 15
	pageSize    = 512 // a sector: a power cut leaves all of a page as it was, or none
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func slotSum(b []byte, oid zodb.OID) uint32 {
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], uint64(oid))
	return crc32.Update(crc32.Checksum(buf[:], castagnoli), castagnoli, b[:slotSize-4])
}

// parseSlot reports whether the checksum is right, which that of the zero Slot has, too.
func parseSlot(b []byte, oid zodb.OID) (Slot, bool) {
	s := Slot{
		TID: zodb.TIDFromBytes(b), Offset: int64(binary.BigEndian.Uint64(b[8:])), Bundle: binary.BigEndian.Uint32(b[16:]),
		Size: binary.BigEndian.Uint32(b[20:]), Block: binary.BigEndian.Uint16(b[24:]), Flags: binary.BigEndian.Uint16(b[26:]),
	}
	return s, binary.BigEndian.Uint32(b[28:]) == slotSum(b, oid)
}
