package current

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestOffsetsAreThoseOfTheDocument compares header, slots and the list of pages with the tables of docs/format.md.
func TestOffsetsAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	u64 := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	u32 := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	crc := func(b ...[]byte) []byte { return u32(crc32.Checksum(slices.Concat(b...), castagnoli)) }
	same := func(behind string, b []byte, fields ...hometest.Field) {
		hometest.SameAsDocument(t, "../../docs/format.md", behind, b, fields)
	}
	identity, note := [16]byte{1, 2, 3, 15: 4}, [32]byte{9, 8, 7, 31: 1}
	h := header{identity: identity, sequence: 0x11, upTo: 0x22, pages: 0x33, extents: 0x44, objects: 0x55, flags: flagSparse, note: note}
	b := h.append(nil)
	same("### The table of current revisions", b,
		hometest.Field{Row: "magic `DScurrnt`", Bytes: []byte("DScurrnt")}, hometest.Field{Row: "version, 5", Bytes: u32(5)},
		hometest.Field{Row: "slots in a page, 15", Bytes: u32(15)}, hometest.Field{Row: "identity", Bytes: identity[:]},
		hometest.Field{Row: "sequence", Bytes: u64(0x11)}, hometest.Field{Row: "TID up to which", Bytes: u64(0x22)},
		hometest.Field{Row: "number of pages", Bytes: u32(0x33)}, hometest.Field{Row: "number of entries in `misc/current.pages`", Bytes: u32(0x44)},
		hometest.Field{Row: "number of objects", Bytes: u64(0x55)}, hometest.Field{Row: "flags: 1 = there is no table", Bytes: u32(1)},
		hometest.Field{Row: "SHA-256 of the note", Bytes: note[:]}, hometest.Field{Row: "zero", Bytes: make([]byte, 408)},
		hometest.Field{Row: "CRC-32C of bytes 0 to 507", Bytes: crc(b[:508])})
	if headerSpace != 4096 || pageSize != 512 || pageVersion != 480 || pageSumAt != 508 {
		t.Error("pages are not those of the document")
	}

	s := slices.Concat(u64(0x11), u64(0x22), u32(0x33), u32(0x44), []byte{0, 0x55, 0x80, 0})
	s = append(s, crc(u64(0x77), s)...)
	want := Slot{TID: 0x11, Offset: 0x22, Bundle: 0x33, Size: 0x44, Block: 0x55, Flags: 32768}
	if got, ok := parseSlot(s, 0x77); !ok || got != want || want.Flags != Removed {
		t.Errorf("the slot is %+v, %v, want %+v", got, ok, want)
	}
	same("| 508 | 4 | CRC-32C of the number of the page, 4 bytes, and bytes 0 to 507 |", s,
		hometest.Field{Row: "TID", Bytes: u64(0x11)}, hometest.Field{Row: "offset of the frame", Bytes: u64(0x22)},
		hometest.Field{Row: "CRC-32C of the name", Bytes: u32(0x33)}, hometest.Field{Row: "size of the frame", Bytes: u32(0x44)},
		hometest.Field{Row: "where the content begins", Bytes: []byte{0, 0x55}}, hometest.Field{Row: "flags of the entry; 32768", Bytes: []byte{0x80, 0}},
		hometest.Field{Row: "CRC-32C of the OID and bytes 0 to 27", Bytes: crc(u64(0x77), s[:28])})

	e := extent{group: 0x11, page: 0x22, count: 0x33}
	b = e.append(nil)
	same("`misc/current.pages` has entries of 20 bytes", b,
		hometest.Field{Row: "OID of the first slot, divided by 15", Bytes: u64(0x11)}, hometest.Field{Row: "number of its page", Bytes: u32(0x22)},
		hometest.Field{Row: "how many pages follow", Bytes: u32(0x33)}, hometest.Field{Row: "CRC-32C of bytes 0 to 15", Bytes: crc(b[:16])})
}
