package refindex

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestOffsetsAreThoseOfTheDocument compares header and blocks with the tables of docs/format.md.
func TestOffsetsAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	u64 := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	u32 := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	h := header{tid: 0x11, stats: Stats{References: 0x22, Targets: 0x33, Skipped: 0x44, Damaged: 0x55}, firsts: 0x66, blocks: 0x77}
	b := h.append(nil)
	hometest.SameAsDocument(t, "../../docs/format.md", "## The index of references", b, []hometest.Field{
		{Row: "`DSref`, CR, LF, `1A`", Bytes: []byte("DSref\r\n\x1a")}, {Row: "version, 1", Bytes: u32(1)},
		{Row: "number of damaged objects", Bytes: u32(0x55)}, {Row: "TID up to which it holds", Bytes: u64(0x11)},
		{Row: "number of references", Bytes: u64(0x22)}, {Row: "number of objects that are referred to", Bytes: u64(0x33)},
		{Row: "number of objects whose references could not be seen", Bytes: u64(0x44)}, {Row: "*f*", Bytes: u64(0x66)},
		{Row: "*n*, number of blocks", Bytes: u32(0x77)}, {Row: "CRC32C of bytes 0 to 59", Bytes: u32(crc32.Checksum(b[:60], castagnoli))},
	})

	// t = 5 from f = 2, then t = 5 from f = 300, then t = 6 from f = 9, written as the document has it.
	block, want := make([]byte, blockHead), []byte{5, 5 /* 2*3-1 */, 0, 0xAA, 0x02 /* 298 */, 1, 6 /* 2*3 */}
	var c coder
	for _, p := range []pair{{to: 5, from: 2}, {to: 5, from: 300}, {to: 6, from: 9}} {
		block = c.append(block, p)
	}
	if string(block[blockHead:]) != string(want) {
		t.Errorf("the references are % x, want % x", block[blockHead:], want)
	}
	sealBlock(block, 0x40, 3)
	hometest.SameAsDocument(t, "../../docs/format.md", "A block takes no more references", block[:blockHead], []hometest.Field{
		{Row: "CRC32C of: offset of the block in the file (8 bytes), bytes 4 to the end", Bytes: u32(crc32.Checksum(append(u64(0x40), block[4:]...), castagnoli))},
		{Row: "number of references", Bytes: u32(3)},
	})
}
