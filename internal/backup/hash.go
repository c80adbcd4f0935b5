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

const (
	aheadBytes = 256 << 10 // of a buffer
	aheadMost  = 4         // buffers that are full
)

// aheadReader reads ahead in a goroutine of its own, which Close ends. So hashing below it
// takes place beside the work of the reader.
type aheadReader struct {
	full   chan []byte // closed at the end
	free   chan []byte
	stop   chan struct{}
	ended  chan struct{}
	err    error  // of the end, once full is closed
	buffer []byte // that is being read
	rest   []byte // of it
}

func newAheadReader(r io.Reader) *aheadReader {
	a := &aheadReader{full: make(chan []byte, aheadMost), free: make(chan []byte, aheadMost+2), stop: make(chan struct{}), ended: make(chan struct{})}
	go a.fill(r)
	return a
}

func (a *aheadReader) fill(r io.Reader) {
	defer close(a.ended)
	defer close(a.full)
	for {
		var b []byte
		select {
		case b = <-a.free:
		default:
			b = make([]byte, aheadBytes)
		}
		n, err := r.Read(b[:aheadBytes])
		if n > 0 {
			select {
			case a.full <- b[:n]:
			case <-a.stop:
				a.err = errStopped
				return
			}
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// Read implements [io.Reader].
func (a *aheadReader) Read(b []byte) (int, error) {
	if len(a.rest) == 0 {
		if a.buffer != nil {
			a.free <- a.buffer
		}
		var ok bool
		if a.buffer, ok = <-a.full; !ok {
			return 0, a.err
		}
		a.rest = a.buffer
	}
	n := copy(b, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Close waits until nothing is read any more.
func (a *aheadReader) Close() {
	close(a.stop)
	<-a.ended
}
