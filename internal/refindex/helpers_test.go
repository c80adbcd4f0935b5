package refindex

import (
	"encoding/binary"
	"hash/crc32"
)

// withSums makes the checksums of a file right, as far as it has the form of an
// index, so that the data behind them are tried too.
func withSums(b []byte) []byte {
	if len(b) < headerSize+tailSize {
		return b
	}
	firsts := binary.BigEndian.Uint64(b[48:])
	if firsts < headerSize || firsts > uint64(len(b)-tailSize) {
		firsts = uint64(len(b) - tailSize)
		binary.BigEndian.PutUint64(b[48:], firsts)
	}
	list := b[firsts : len(b)-tailSize]
	for rest := list; len(rest) >= firstSize; rest = rest[firstSize:] {
		offset, end := binary.BigEndian.Uint64(rest[8:]), firsts
		if len(rest) >= 2*firstSize {
			end = binary.BigEndian.Uint64(rest[firstSize+8:])
		}
		if offset >= headerSize && end <= firsts && offset+blockHead <= end {
			block := b[offset:end]
			binary.BigEndian.PutUint32(block, blockSum(block, int64(offset)))
		}
	}
	binary.BigEndian.PutUint32(b[len(b)-tailSize:], crc32.Checksum(list, castagnoli))
	binary.BigEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}
