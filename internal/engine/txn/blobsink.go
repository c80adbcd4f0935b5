package txn

import (
	"cmp"
	"errors"
	"io"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

const (
	// blobSinkFirst is the first buffer of a blob in bytes; each full one makes the next larger.
	blobSinkFirst = 16 << 10
	// blobSinkSize is the largest one.
	blobSinkSize = 256 << 10
	// blobSinkMost is how many of those a blob has that fills one, which is how much of it is in memory
	// at most. Reading goes on while the file system stalls for a moment.
	blobSinkMost = 4
)

// writebackStep is after how many bytes the disk is asked to begin with them, so
// that the vote has less to wait for.
const writebackStep = 2 << 20

// blobSink writes a file and computes its checksum. Of a large blob one buffer is filled and summed
// while those before are written by a goroutine, which stop ends. It is used by one goroutine at a
// time.
type blobSink struct {
	out  *blobFile
	hash *record.BlobHash // of the bytes in size
	size int64            // bytes in it, without those of buf
	buf  []byte           // being filled

	full    chan []byte  // for the goroutine; nil: there is none
	emptied chan emptied // by it
}

// emptied is a buffer that was written, if err is nil.
type emptied struct {
	buf []byte
	err error // also of buffers before
}

// newBlobSink starts with a small buffer, because many blobs are small. f is nil where only the
// checksum is wanted.
func newBlobSink(f vfs.File, h *record.BlobHash) *blobSink {
	return &blobSink{out: &blobFile{f: f}, hash: h, buf: make([]byte, 0, blobSinkFirst)}
}

// write adds p, which it does not keep. After an error there is only close.
func (w *blobSink) write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k := min(len(p)-n, cap(w.buf)-len(w.buf))
		copy(w.buf[len(w.buf):cap(w.buf)], p[n:n+k])
		n += k
		if err := w.filled(k); err != nil {
			return n, err
		}
	}
	return n, nil
}

// filled adds n bytes that are behind those of buf already.
func (w *blobSink) filled(n int) error {
	w.buf = w.buf[:len(w.buf)+n]
	if len(w.buf) < cap(w.buf) {
		return nil
	}
	return w.flush()
}

// readFrom adds a whole stream. After an error there is only close.
func (w *blobSink) readFrom(r io.Reader) error {
	for {
		n, err := io.ReadFull(r, w.buf[len(w.buf):cap(w.buf)])
		if err := w.filled(n); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// flush passes the buffer, which is full, on, and makes another one ready.
func (w *blobSink) flush() error {
	w.sum()
	if w.full != nil {
		w.full <- w.buf
		e := <-w.emptied
		w.buf = e.buf
		return e.err
	}
	err := w.out.write(w.buf)
	w.buf = w.buf[:0]
	if err != nil || cap(w.buf) == blobSinkSize {
		return err
	}
	w.buf = make([]byte, 0, min(8*cap(w.buf), blobSinkSize))
	if cap(w.buf) == blobSinkSize {
		w.full, w.emptied = make(chan []byte, blobSinkMost), make(chan emptied, blobSinkMost)
		for range blobSinkMost - 1 {
			w.emptied <- emptied{buf: make([]byte, 0, blobSinkSize)}
		}
		go w.out.writeAll(w.full, w.emptied)
	}
	return nil
}

// sum counts the bytes of the buffer, which go on to the file.
func (w *blobSink) sum() {
	w.size += int64(len(w.buf))
	_, _ = w.hash.Write(w.buf) // a hash never fails
}

// finish writes the rest, and ends the goroutine.
func (w *blobSink) finish() error {
	w.sum()
	if w.full == nil {
		err := w.out.write(w.buf)
		w.buf = nil
		return err
	}
	if len(w.buf) > 0 {
		w.full <- w.buf
	}
	return w.stop()
}

// stop ends the goroutine, if there is one, once it has written what it has.
func (w *blobSink) stop() error {
	w.buf = nil
	if w.full == nil {
		return nil
	}
	close(w.full)
	w.full = nil
	var err error
	for e := range w.emptied {
		err = cmp.Or(err, e.err)
	}
	return err
}

// blobFile is a file that grows. One goroutine uses it at a time.
type blobFile struct {
	f       vfs.File // nil: there is none
	written int64    // bytes
	started int64    // how much the disk was asked to write
}

// writeAll writes buffers until full is closed; none after an error.
func (b *blobFile) writeAll(full <-chan []byte, done chan<- emptied) {
	defer close(done)
	var err error
	for buf := range full {
		if err == nil {
			err = b.write(buf)
		}
		done <- emptied{buf[:0], err}
	}
}

func (b *blobFile) write(buf []byte) error {
	if b.f == nil || len(buf) == 0 {
		return nil
	}
	n, err := b.f.Write(buf)
	b.written += int64(n)
	if unsynced := b.written - b.started; err == nil && unsynced >= writebackStep {
		b.f.StartSync(b.started, unsynced)
		b.started = b.written
	}
	return err
}
