package backup

import (
	"crypto/sha256"
	"hash"
	"io"

	"github.com/dirstorage/dirstorage/internal/archive"
)

// hashReader hashes the bytes read through it.
type hashReader struct {
	r io.Reader
	h hash.Hash
	n int64
}

func newHashReader(r io.Reader) *hashReader { return &hashReader{r: r, h: sha256.New()} }

func (h *hashReader) Read(b []byte) (int, error) {
	n, err := h.r.Read(b)
	h.h.Write(b[:n])
	h.n += int64(n)
	return n, err
}

func (h *hashReader) sum() archive.Sum { return archive.Sum(h.h.Sum(nil)) }
