package wire

import "math"

// Limits of the cost of a frame.
const (
	// maxDepth is how deep values may lie within each other in a message that is read,
	// the message itself being the first level.
	maxDepth = 100

	// maxEncodedDepth is the same for written messages. It is larger, so that a value
	// that was read can be written as a part of another one.
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

	// maxInteger is the length in bytes of the longest integer in a message. ZEO's have 8;
	// the rest is for values that applications put into the extension of a transaction:
	// 4,300 digits, Python's limit for integers as text.
	maxInteger = 2048

	// maxLine is the length in bytes of the longest line in a message: the name of a
	// class or a place of the memo.
	maxLine = 256

	// The memory of a value, in bytes, beside the text and bytes in it: its place in the
	// stack and in its container, while both grow; and a list, dict or set, or a map that
	// finds out which keys are there twice.
	valueMemory = 64
	nodeMemory  = 128
)

// unlimited is the memory for messages whose length is limit enough.
const unlimited = math.MaxInt

// MemoryFor returns the most that the values in a request of n bytes may take in memory,
// see [DecodeRequest]. No request of a client comes near it: the most values has the
// extension of a transaction, and that has 64 KiB at most.
func MemoryFor(n int) int { return min(256<<10+8*n, 16<<20) }

// valueLimit is the number of values for which n bytes may stand.
func valueLimit(n int) int { return min(freeValues+n/bytesPerValue, maxValues) }

// byteLimit is the size in bytes of the text and bytes for which n bytes may stand.
func byteLimit(n int) int { return freeBytes + bytesFactor*n }
