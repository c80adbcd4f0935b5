package bundle

// ReadRun reads size bytes of the file from an offset on, such as frames that follow each other,
// into dst or a larger buffer. Nothing is compared: see [Reader.CheckPacked].
func (r *Reader) ReadRun(offset, size int64, dst []byte) ([]byte, error) {
	if int64(cap(dst)) < size {
		dst = make([]byte, size)
	}
	dst = dst[:size]
	return dst, r.readAt(dst, offset)
}

// CheckPacked compares a frame as it is in the file with its sum.
func (r *Reader) CheckPacked(f Frame, packed []byte) error {
	if got := checksum(packed); got != f.Sum {
		return r.corrupt(f.Offset, nil, "a frame has the checksum %08x, and the index says %08x", got, f.Sum)
	}
	return nil
}
