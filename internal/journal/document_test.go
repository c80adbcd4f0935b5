package journal

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestOffsetsAreThoseOfTheDocument compares header and frames of the log with the tables of docs/format.md.
func TestOffsetsAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	u64 := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	u32 := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	crc := func(b ...[]byte) []byte { return u32(crc32.Checksum(slices.Concat(b...), castagnoli)) }
	identity := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	positionOf := func(segment, offset uint64) []byte { return slices.Concat(u64(segment), u64(offset)) }
	same := func(behind string, b []byte, fields ...hometest.Field) {
		hometest.SameAsDocument(t, "../../docs/format.md", behind, b, fields)
	}

	h := header{identity: identity, seq: 0x77, durable: true, oldest: 0x66, previous: 0x55}
	b := h.append(nil)
	same("It starts with a header:", b,
		hometest.Field{Row: "`DSlog`, CR, LF, `1A`", Bytes: []byte("DSlog\r\n\x1a")}, hometest.Field{Row: "version, 1", Bytes: u32(1)},
		hometest.Field{Row: "flags: 1 =", Bytes: u32(1)}, hometest.Field{Row: "N", Bytes: u64(0x77)},
		hometest.Field{Row: "identity", Bytes: identity[:]}, hometest.Field{Row: "the oldest segment", Bytes: u64(0x66)},
		hometest.Field{Row: "where the segment before ends", Bytes: u64(0x55)}, hometest.Field{Row: "zero", Bytes: u32(0)},
		hometest.Field{Row: "CRC32C of bytes 0 to 59", Bytes: crc(b[:60])})

	payload := []byte("seventeen bytes..")
	for kind, number := range map[frameType]byte{frameData: 1, frameMeta: 2, frameCommit: 3, frameMark: 4} {
		b = newSeal(identity, 0x77).appendFrame(nil, 0x1000, kind, payload)
		if len(b) != 40 || string(b[16:33]) != string(payload) || !slices.Equal(b[33:], make([]byte, 7)) {
			t.Errorf("a frame of 17 bytes is % x", b)
		}
		same("Frames follow, each at a multiple of 8:", b[:frameHead],
			hometest.Field{Row: "CRC32C of: identity (16 bytes), N (8), offset of the frame (8), bytes 4 to 15", Bytes: crc(identity[:], u64(0x77), u64(0x1000), b[4:16])},
			hometest.Field{Row: "length of the payload", Bytes: u32(17)}, hometest.Field{Row: "CRC32C of the payload", Bytes: crc(payload)},
			hometest.Field{Row: "type: 1 data, 2 meta, 3 commit, 4 mark", Bytes: []byte{number}}, hometest.Field{Row: "zero", Bytes: make([]byte, 3)})
	}

	sum := record.BlobSum{9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8}
	e := Entry{handle: 0x11, OID: 0x22, Previous: 0x33, UndoFrom: 0x44, Gone: true, Blob: true, BlobSum: sum, BlobFile: "name", BlobSize: 0x99}
	if b = e.appendHead(nil); string(b[dataFixed:]) != "name" {
		t.Errorf("the name is %q", b[dataFixed:])
	}
	same("**Data**, one revision", b[:dataFixed],
		hometest.Field{Row: "handle", Bytes: u64(0x11)}, hometest.Field{Row: "OID", Bytes: u64(0x22)},
		hometest.Field{Row: "serial of the revision before", Bytes: u64(0x33)}, hometest.Field{Row: "undo-from", Bytes: u64(0x44)},
		hometest.Field{Row: "flags: 1 = the object does not exist from here on, 2 = it has a blob", Bytes: []byte{1 | 2}}, hometest.Field{Row: "zero", Bytes: []byte{0}},
		hometest.Field{Row: "length of the name", Bytes: []byte{0, 4}}, hometest.Field{Row: "zero", Bytes: u32(0)},
		hometest.Field{Row: "checksum of the blob", Bytes: sum[:]}, hometest.Field{Row: "size of the blob", Bytes: u64(0x99)})

	m := meta{handle: 0x11, first: 0x12, records: 0x13, durable: Position{0x14, 0x15}, packed: true,
		TxnMeta: zodb.TxnMeta{User: []byte("u"), Description: []byte("de"), Extension: []byte("ext")}}
	if b = m.append(nil); string(b[metaFixed:]) != "udeext" {
		t.Errorf("user, description and extension are %q", b[metaFixed:])
	}
	same("**Meta**, behind the data", b[:metaFixed],
		hometest.Field{Row: "handle", Bytes: u64(0x11)}, hometest.Field{Row: "offset of the transaction's first frame", Bytes: u64(0x12)},
		hometest.Field{Row: "number of its data frames", Bytes: u64(0x13)}, hometest.Field{Row: "durable position", Bytes: positionOf(0x14, 0x15)},
		hometest.Field{Row: "lengths of user, description, extension", Bytes: []byte{0, 1, 0, 2, 0, 3}},
		hometest.Field{Row: "flags: 1 = it is a copy", Bytes: []byte{1}}, hometest.Field{Row: "zero", Bytes: []byte{0}})

	c := commit{handle: 0x11, tid: 0x22, previous: 0x33, maxOID: 0x44, meta: Position{0x55, 0x66}, durable: Position{0x77, 0x88}}
	same("**Commit**, in the same segment", c.append(nil),
		hometest.Field{Row: "handle", Bytes: u64(0x11)}, hometest.Field{Row: "TID", Bytes: u64(0x22)},
		hometest.Field{Row: "TID of the transaction before", Bytes: u64(0x33)}, hometest.Field{Row: "highest oid", Bytes: u64(0x44)},
		hometest.Field{Row: "position of the meta frame", Bytes: positionOf(0x55, 0x66)}, hometest.Field{Row: "durable position", Bytes: positionOf(0x77, 0x88)})

	k := mark{oldest: 0x11, durable: Position{0x22, 0x33}}
	same("**Mark**, when segments are given up", k.append(nil),
		hometest.Field{Row: "the oldest segment", Bytes: u64(0x11)}, hometest.Field{Row: "durable position", Bytes: positionOf(0x22, 0x33)})
}
