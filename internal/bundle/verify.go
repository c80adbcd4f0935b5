package bundle

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// Verify reads the whole file and compares every checksum: that of the index, and that of each
// frame. So the content is as it was written.
func (r *Reader) Verify() error { return r.VerifyEach(func(int64) error { return nil }) }

// VerifyEach is Verify, and calls done after each piece, with its size. An error of that ends it.
func (r *Reader) VerifyEach(done func(bytes int64) error) error {
	if err := r.CheckIndex(); err != nil {
		return err
	}
	var packed []byte
	end := int64(0)
	for f, err := range r.FramesFrom(0) {
		if err == nil && f.Offset != end {
			err = r.corrupt(f.Offset, nil, "a frame begins here, and the one before ends at %d", end)
		}
		if err == nil {
			packed, err = r.ReadPacked(f, packed)
		}
		if err == nil {
			err = done(f.Size)
		}
		if err != nil {
			return err
		}
		end = f.Offset + f.Size
	}
	return r.CheckEnd(end)
}

// CheckIndex compares the whole index with the sum in the footer.
func (r *Reader) CheckIndex() error {
	sum := sha256.New()
	n := r.size - FooterSize - r.dataEnd
	if _, err := io.Copy(sum, io.NewSectionReader(r.r, r.dataEnd, n)); err != nil {
		return fmt.Errorf("read the index of %s: %w", r.path, err)
	}
	if got := [sha256.Size]byte(sum.Sum(nil)); got != r.Sum {
		return r.corrupt(r.dataEnd, nil, "the SHA-256 of the index is %x, and the footer says %x", got, r.Sum)
	}
	return nil
}

// CheckEnd makes sure that the tar ends as it ought to, behind the last frame of members, which
// ends at an offset.
func (r *Reader) CheckEnd(end int64) error {
	if end < 0 || end > r.dataEnd {
		return r.corrupt(end, nil, "the frames end here, and the tar at %d", r.dataEnd)
	}
	if r.rebuilt {
		return nil // its members were found without an index
	}
	tail := make([]byte, r.dataEnd-end)
	if err := r.readAt(tail, end); err != nil {
		return err
	}
	b, err := r.Decode(Frame{Offset: end, Size: r.dataEnd - end, Blocks: uint32(len(tarEnd) / tarBlock)}, tail, nil)
	if err == nil && !isZero(b) {
		err = r.corrupt(end, nil, "the tar does not end here")
	}
	return err
}
