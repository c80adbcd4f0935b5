package archive

import "encoding/binary"

// A stored frame is one of zstd that holds its content as it is, in raw blocks.

const (
	storedMagic = 0xFD2FB528
	// storedDescriptor: one segment, whose size has four bytes; no checksum, because every
	// entry has a SHA-256.
	storedDescriptor = 0b1010_0000
	storedHead       = 4 + 1 + 4
	storedBlock      = 128 << 10 // the most that a block may have
	storedBlockHead  = 3
)

// storedOverhead is how much longer a stored frame is than its content.
func storedOverhead(n int) int {
	return storedHead + storedBlockHead*max(1, (n+storedBlock-1)/storedBlock)
}

// appendStored appends the stored frame of a content, which has less than 4 GiB.
func appendStored(dst, content []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, storedMagic)
	dst = append(dst, storedDescriptor)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(content)))
	for last := false; !last; {
		n := min(len(content), storedBlock)
		last = n == len(content)
		head := uint32(n) << 3
		if last {
			head |= 1
		}
		dst = append(dst, byte(head), byte(head>>8), byte(head>>16))
		dst = append(dst, content[:n]...)
		content = content[n:]
	}
	return dst
}
