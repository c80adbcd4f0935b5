package wire

// What a frame may cost.
const (
	// maxDepth is how deep values may lie within each other in a message that is read,
	// the message itself being the first level.
	maxDepth = 100

	// maxEncodedDepth is the same for what is written. It is larger, so that
	// what was read can be written as a part of something else.
	maxEncodedDepth = 2 * maxDepth

	// A frame of n bytes may stand for freeValues + n/bytesPerValue values, up to
	// maxValues. The smallest values in long lists that ZEO sends are oids,
	// of 10 bytes; single ones, such as None, take 1 byte and up to 100 bytes of memory.
	freeValues    = 1 << 16
	bytesPerValue = 4
	maxValues     = 1 << 24

	// The text and bytes that a pickle of n bytes stands for may have freeBytes +
	// bytesFactor·n bytes, each reference to the memo counted again.
	freeBytes   = 1 << 20
	bytesFactor = 4
)

// valueLimit is the number of values for which n bytes may stand.
func valueLimit(n int) int { return min(freeValues+n/bytesPerValue, maxValues) }

// byteLimit is the size in bytes of the text and bytes for which n bytes may stand.
func byteLimit(n int) int { return freeBytes + bytesFactor*n }
