package record

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestOffsetsAreThoseOfTheDocument compares the headers of revisions and transactions, and pointers, with the
// tables of docs/format.md, and the checksums with their extent.
func TestOffsetsAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	u64 := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	u32 := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	u16 := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	same := func(behind string, b []byte, fields ...hometest.Field) {
		hometest.SameAsDocument(t, "../../docs/format.md", behind, b, fields)
	}
	sum := func(kind SumKind, covered []byte) []byte {
		b := make([]byte, sumSize+len(covered))
		copy(b[sumSize:], covered)
		putSum(kind, b, 0, sumSize)
		return b[:sumSize]
	}
	for _, kind := range []SumKind{MD5, XXH64} {
		o := Object{OID: 0x11, UndoFrom: 0x22, BlobSum: BlobSum{3, 3, 15: 3}, Previous: 0x44, Serial: 0x55, Data: []byte("data")}
		b, err := o.Append(nil, kind)
		if err != nil || string(b[ObjectHeaderSize:]) != "data" {
			t.Fatalf("%v, % x", err, b)
		}
		same("## A revision", b[:ObjectHeaderSize],
			hometest.Field{Row: "`BD B8 2A 71`", Bytes: []byte{0xBD, 0xB8, 0x2A, 0x71}}, hometest.Field{Row: "length of the file: 72 + length of the record", Bytes: u32(72 + 4)},
			hometest.Field{Row: "OID", Bytes: u64(0x11)}, hometest.Field{Row: "undo-from", Bytes: u64(0x22)},
			hometest.Field{Row: "**new**: checksum of the blob", Bytes: o.BlobSum[:]},
			hometest.Field{Row: "[checksum](#checksums) of everything from offset 56 on", Bytes: sum(kind, b[56:])},
			hometest.Field{Row: "serial of the revision before", Bytes: u64(0x44)}, hometest.Field{Row: "serial of this revision", Bytes: u64(0x55)})

		x := Transaction{TID: 0x11, Previous: 0x22, Packed: true, User: []byte("u"), Description: []byte("de"), Extension: []byte("ext"), OIDs: []zodb.OID{0x66, 0x33}}
		b, err = x.Append(nil, kind)
		if err != nil || !slices.Equal(b[TransactionHeaderSize:], slices.Concat([]byte("udeext"), u64(0x66), u64(0x33))) {
			t.Fatalf("%v, % x", err, b)
		}
		// The rest of the table has no fixed offsets, so the row of the user ends it.
		same("## A transaction", b[:TransactionHeaderSize],
			hometest.Field{Row: "`47 40 07 76`", Bytes: []byte{0x47, 0x40, 0x07, 0x76}}, hometest.Field{Row: "length of the file", Bytes: u32(60 + 6 + 16)},
			hometest.Field{Row: "TID", Bytes: u64(0x11)}, hometest.Field{Row: "**new**: `70`, a `p`", Bytes: []byte("p")}, hometest.Field{Row: "zero", Bytes: make([]byte, 7)},
			hometest.Field{Row: "TID of the transaction before", Bytes: u64(0x22)},
			hometest.Field{Row: "[checksum](#checksums) of everything from offset 48 on", Bytes: sum(kind, b[48:])},
			hometest.Field{Row: "length *u*", Bytes: u16(1)}, hometest.Field{Row: "length *d*", Bytes: u16(2)}, hometest.Field{Row: "length *e*", Bytes: u16(3)},
			hometest.Field{Row: "length *o* of the list of oids, in bytes", Bytes: u32(16)}, hometest.Field{Row: "zero", Bytes: u16(0)})
	}
	same("## A pointer", AppendPointer(nil, 0x11), hometest.Field{Row: "serial of the current revision", Bytes: u64(0x11)})
}
