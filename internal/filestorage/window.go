package filestorage

import (
	"fmt"
	"io"
)

// window reads ahead in a file of which the size is known.
type window struct {
	src   io.ReaderAt
	size  int64
	start int64 // of buf in the file
	buf   []byte
	ahead int // bytes to read at once
}

func newWindow(src io.ReaderAt, size int64, ahead int) *window {
	return &window{src: src, size: size, ahead: ahead}
}

// at returns n bytes from pos, good until the next call; n is small. The caller
// has checked that they lie within the file.
func (w *window) at(pos int64, n int) ([]byte, error) {
	if pos < w.start || pos+int64(n) > w.start+int64(len(w.buf)) {
		if want := max(n, int(min(int64(w.ahead), w.size))); cap(w.buf) < want {
			w.buf = make([]byte, want)
		}
		w.start = pos
		w.buf = w.buf[:min(int64(cap(w.buf)), w.size-pos)]
		if err := readFull(w.src, w.buf, pos); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	return w.buf[pos-w.start:][:n], nil
}

// copy returns n bytes from pos that the caller owns. Longer reads do not go through the window.
func (w *window) copy(pos int64, n int64) ([]byte, error) {
	b := make([]byte, n)
	if n > int64(w.ahead) {
		return b, readFull(w.src, b, pos)
	}
	piece, err := w.at(pos, int(n))
	if err != nil {
		return nil, err
	}
	copy(b, piece)
	return b, nil
}

// readFull fills b. That the file is shorter than it was is an error of its own.
func readFull(src io.ReaderAt, b []byte, pos int64) error {
	n, err := src.ReadAt(b, pos)
	switch {
	case n == len(b):
		return nil
	case err == io.EOF:
		return fmt.Errorf("read %d bytes at %d: file became shorter: %w", len(b), pos, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), pos, err)
}
