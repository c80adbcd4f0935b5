package record

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// sumSize is the length of a checksum, of each kind.
const sumSize = md5.Size

// xxh64Tag begins a checksum that is an XXH64; the sum follows it, big end first. An MD5 begins so
// once in 2^64.
const xxh64Tag = "xxh64\x00\x00\x00"

// SumKind is the kind of the checksum of a revision or a transaction. Each parser takes all kinds.
type SumKind uint8

// The kinds of checksums. They find accidental damage, and are no proof against forgery.
const (
	// NoSum: 16 zero bytes.
	NoSum SumKind = iota
	// MD5 is the kind of the Python original.
	MD5
	// XXH64 is an XXH64 with seed 0 behind a tag. It takes a twentieth of the time.
	XXH64
)

// String returns the name of the kind; "": there is no checksum.
func (k SumKind) String() string {
	switch k {
	case MD5:
		return "md5"
	case XXH64:
		return "xxh64"
	}
	return ""
}

// kindOf returns the kind of a checksum.
func kindOf(sum []byte) SumKind {
	switch {
	case string(sum[:len(xxh64Tag)]) == xxh64Tag:
		return XXH64
	case [sumSize]byte(sum) == [sumSize]byte{}:
		return NoSum
	}
	return MD5
}

// sumAt returns where the checksum of a revision or a transaction is, and where the content that it
// covers begins; 0 for anything else.
func sumAt(b []byte) (at, from int) {
	switch {
	case len(b) >= ObjectHeaderSize && string(b[:4]) == ObjectMagic:
		return objectSum, objectPrevious
	case len(b) >= TransactionHeaderSize && string(b[:4]) == TransactionMagic:
		return transactionSum, transactionUser
	}
	return 0, 0
}

// SumKindOf returns the kind of the checksum of a revision or a transaction, b being the whole file.
// It is NoSum for anything else.
func SumKindOf(b []byte) SumKind {
	at, _ := sumAt(b)
	if at == 0 {
		return NoSum
	}
	return kindOf(b[at : at+sumSize])
}

// SumFault says why the checksum of a revision or a transaction does not fit, b being the whole
// file; "" if it fits, if there is none, or if b is neither.
func SumFault(b []byte) string {
	at, from := sumAt(b)
	if at == 0 {
		return ""
	}
	return sumFault(b[at:at+sumSize], b[from:])
}

// sumFault says why a checksum is not that of a content; "" if it is.
func sumFault(sum, content []byte) string {
	behind := binary.BigEndian.Uint64(sum[len(xxh64Tag):])
	switch kindOf(sum) {
	case NoSum:
		return ""
	case XXH64:
		got := xxhash.Sum64(content)
		if got == behind {
			return ""
		}
		return fmt.Sprintf("xxh64 is %016x, but that of the content is %016x", behind, got)
	}
	got := md5.Sum(content)
	switch {
	case bytes.Equal(sum, got[:]):
		return ""
	case behind == xxhash.Sum64(content):
		return fmt.Sprintf("the kind of the checksum is %q, want %q: the xxh64 behind it is that of the content", sum[:len(xxh64Tag)], xxh64Tag)
	}
	return fmt.Sprintf("md5 is %x, but that of the content is %x", sum, got)
}

// putSum writes a checksum of the bytes of a whole file from one offset on to another. Zeros are
// there.
func putSum(kind SumKind, b []byte, at, from int) {
	switch kind {
	case MD5:
		sum := md5.Sum(b[from:])
		copy(b[at:], sum[:])
	case XXH64:
		copy(b[at:], xxh64Tag)
		binary.BigEndian.PutUint64(b[at+len(xxh64Tag):], xxhash.Sum64(b[from:]))
	}
}

// WithSum returns a revision or a transaction with a checksum of a kind, b being the whole file, whose
// checksum fits. It is b itself if it has that kind, or none.
func WithSum(b []byte, kind SumKind) []byte {
	if is := SumKindOf(b); is == NoSum || is == kind {
		return b
	}
	at, from := sumAt(b)
	b = bytes.Clone(b)
	clear(b[at : at+sumSize])
	putSum(kind, b, at, from)
	return b
}

// Same reports whether two files are equal, or are a revision or a transaction that differ in their
// checksums alone, which fit both.
func Same(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	at, _ := sumAt(a)
	if at == 0 {
		return bytes.Equal(a, b)
	}
	if !bytes.Equal(a[:at], b[:at]) || !bytes.Equal(a[at+sumSize:], b[at+sumSize:]) {
		return false
	}
	return bytes.Equal(a[at:at+sumSize], b[at:at+sumSize]) || SumFault(a) == "" && SumFault(b) == ""
}
