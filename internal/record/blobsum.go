package record

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"

	"github.com/cespare/xxhash/v2"
)

// BlobSum is the checksum of a blob, as the revision to which it belongs has it: an xxHash of 64 bits
// behind a tag, or an MD5 in files of older releases. Zero: there is no blob.
//
// It finds damage by chance. It is no proof against forgery: who can write into HOME can write
// another sum as well.
type BlobSum [16]byte

// IsZero reports whether there is no blob.
func (s BlobSum) IsZero() bool { return s == BlobSum{} }

// Hash returns the hash that computes a sum of the same kind, to compare with it.
func (s BlobSum) Hash() *BlobHash {
	if string(s[:len(xxh64Tag)]) == xxh64Tag {
		return NewBlobHash()
	}
	return &BlobHash{Hash: md5.New(), md5: true}
}

// Comparable reports whether two sums of equal blobs are equal: no blob, or both of one kind.
func (s BlobSum) Comparable(other BlobSum) bool {
	return s.IsZero() || other.IsZero() || s.Hash().md5 == other.Hash().md5
}

// String returns the kind and the sum in hexadecimal, as xxhsum and md5sum print it; "": there is
// no blob.
func (s BlobSum) String() string {
	switch {
	case s.IsZero():
		return ""
	case s.Hash().md5:
		return "md5:" + hex.EncodeToString(s[:])
	}
	return "xxh64:" + hex.EncodeToString(s[len(xxh64Tag):])
}

// BlobHash computes the checksum of a blob. One goroutine uses it.
type BlobHash struct {
	hash.Hash
	md5 bool
}

// NewBlobHash returns the hash for a new blob.
func NewBlobHash() *BlobHash { return &BlobHash{Hash: xxhash.New()} }

// BlobSum returns the checksum of the bytes that were written.
func (h *BlobHash) BlobSum() (s BlobSum) {
	if h.md5 {
		h.Sum(s[:0])
		return s
	}
	copy(s[:], xxh64Tag)
	binary.BigEndian.PutUint64(s[len(xxh64Tag):], h.Hash.(hash.Hash64).Sum64())
	return s
}

// SumBlob returns the checksum for a new blob that is in memory.
func SumBlob(content []byte) BlobSum {
	h := NewBlobHash()
	_, _ = h.Write(content) // a hash never fails
	return h.BlobSum()
}

// BlobSums reads a blob, and returns its sum of each kind: one of them is that of its revision.
func BlobSums(r io.Reader) (sums [2]BlobSum, size int64, err error) {
	now, old := NewBlobHash(), &BlobHash{Hash: md5.New(), md5: true}
	size, err = io.Copy(io.MultiWriter(now, old), r)
	return [2]BlobSum{now.BlobSum(), old.BlobSum()}, size, err
}
