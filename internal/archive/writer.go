package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dirstorage/dirstorage/internal/budget"
)

// defaultFrameSize is how much tar a frame holds, in bytes, where there is memory for it.
const defaultFrameSize = 4 << 20

const (
	// leastFrame is below which compression suffers.
	leastFrame = 256 << 10
	// workerMemory is about the memory of a worker: its frame, before and after, and the encoder.
	workerMemory = 16 << 20
)

// windowOf returns the window for frames of that size: a longer window would have nothing to look
// back to.
func windowOf(frameSize int) int {
	window := leastFrame
	for window < frameSize && window < defaultFrameSize {
		window *= 2
	}
	return window
}

// Options of [NewWriter]. The zero value gives the defaults.
type Options struct {
	FrameSize int // bytes of tar in a frame; default 4 MiB, less where the memory limit is small
	Workers   int // frames that are compressed at the same time; default the number of processors, fewer where the memory limit is small
}

// Entry describes one entry of an archive.
type Entry struct {
	Name    string // relative to HOME, with slashes; see [CheckName]
	Size    int64  // of the content in bytes
	Sum     Sum    // of the content
	At      int64  // of its header in the tar, in bytes
	Dir     bool   // a directory has no content
	ModTime time.Time
}

// Frame describes one frame of an archive.
type Frame struct {
	At     int64 `json:"at"`     // where it begins in the tar, in bytes
	Offset int64 `json:"offset"` // where it begins in the archive
	Size   int64 `json:"size"`   // in the archive
	Start  bool  `json:"start"`  // it begins with the header of an entry
}

// Totals counts the written archive.
type Totals struct {
	Entries      int64 // directories included
	Bytes        int64 // of content
	ArchiveBytes int64
	ArchiveSum   Sum
	IndexBytes   int64
	IndexSum     Sum
}

// Writer makes an archive and its index. It is used by one goroutine; errors
// stay. Either [Writer.Close] or [Writer.Abort] must be called.
type Writer struct {
	frameSize int
	tar       *tar.Writer
	buf       []byte // of the frame that is being filled
	at        int64  // of buf in the tar
	start     bool   // buf begins with an entry
	large     bool   // within an entry that has frames for itself
	stored    bool   // frames are not compressed now
	totals    Totals

	archive *sumWriter
	indexTo *sumWriter
	index   *zstd.Encoder
	encoder *zstd.Encoder
	queue   chan *pending // in the order of the archive
	slots   chan struct{} // one for each frame in memory
	written chan struct{} // closed when all frames are

	mu     sync.Mutex
	err    error         // guarded by mu; the first one
	lines  *json.Encoder // guarded by mu
	closed bool
}

// pending is a frame that is compressed.
type pending struct {
	frame  Frame
	data   []byte
	stored bool
	done   chan struct{}
}

// NewWriter begins an archive. Nothing is closed that is passed in.
func NewWriter(archive, index io.Writer, o Options) (*Writer, error) {
	if o.FrameSize <= 0 {
		o.FrameSize = int(max(leastFrame, budget.Within(defaultFrameSize, 48)))
	}
	if o.Workers <= 0 {
		o.Workers = budget.Workers(workerMemory)
	}
	w := &Writer{
		frameSize: o.FrameSize, start: true, archive: newSumWriter(archive), indexTo: newSumWriter(index),
		queue: make(chan *pending, o.Workers), slots: make(chan struct{}, o.Workers+1), written: make(chan struct{}),
	}
	var err error
	if w.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(o.Workers), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(windowOf(o.FrameSize))); err != nil {
		return nil, err
	}
	if w.index, err = zstd.NewWriter(w.indexTo, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(windowOf(o.FrameSize))); err != nil {
		return nil, err
	}
	w.lines = json.NewEncoder(w.index)
	w.lines.SetEscapeHTML(false)
	w.tar = tar.NewWriter((*frameWriter)(w))
	go w.emit()
	return w, nil
}

// AddDir adds a directory.
func (w *Writer) AddDir(name string, modTime time.Time) error {
	_, err := w.add(Entry{Name: name, Dir: true, ModTime: modTime}, nil)
	return err
}

// Add adds a file with exactly size bytes of content.
func (w *Writer) Add(name string, size int64, modTime time.Time, content io.Reader) (Entry, error) {
	return w.AddAs(name, size, modTime, content, false)
}

// AddAs adds a file. One that is compressed already is stored as it is.
func (w *Writer) AddAs(name string, size int64, modTime time.Time, content io.Reader, packed bool) (Entry, error) {
	if packed != w.stored {
		w.cut()
		w.stored = packed
	}
	return w.add(Entry{Name: name, Size: size, ModTime: modTime}, content)
}

func (w *Writer) add(e Entry, content io.Reader) (Entry, error) {
	if err := CheckName(e.Name); err != nil {
		return e, err
	}
	if err := w.failure(); err != nil {
		return e, err
	}
	large := e.Size >= int64(w.frameSize)
	if len(w.buf) >= w.frameSize || large && len(w.buf) > 0 {
		w.cut()
	}
	e.At = w.at + int64(len(w.buf))
	h := &tar.Header{Name: e.Name, Size: e.Size, Mode: 0o640, ModTime: e.ModTime.Truncate(time.Second), Typeflag: tar.TypeReg}
	if e.Dir {
		h.Name, h.Mode, h.Typeflag = e.Name+"/", 0o755, tar.TypeDir
	}
	w.large = large
	err := w.tar.WriteHeader(h)
	if err == nil && !e.Dir {
		sum := sha256.New()
		var n int64
		n, err = io.Copy(io.MultiWriter(w.tar, sum), io.LimitReader(content, e.Size+1))
		if err == nil && n != e.Size {
			err = fmt.Errorf("%s: %d bytes, and it had %d before", e.Name, n, e.Size)
		}
		e.Sum = Sum(sum.Sum(nil))
	}
	if err == nil {
		err = w.tar.Flush()
	}
	if err == nil {
		err = w.line(indexLine{Name: e.Name, Size: &e.Size, SHA256: &e.Sum, At: e.At, Dir: e.Dir})
	}
	if large {
		w.cut()
		w.large = false
	}
	if err != nil {
		w.fail(err)
		return e, err
	}
	w.totals.Entries++
	w.totals.Bytes += e.Size
	return e, w.failure()
}

// Close ends the archive and the index.
func (w *Writer) Close() (Totals, error) {
	if err := w.tar.Close(); err != nil {
		w.fail(err)
	}
	w.cut()
	w.stop()
	if err := w.index.Close(); err != nil {
		w.fail(err)
	}
	w.totals.ArchiveBytes, w.totals.ArchiveSum = w.archive.result()
	w.totals.IndexBytes, w.totals.IndexSum = w.indexTo.result()
	return w.totals, w.failure()
}

// Abort ends the writing without making anything whole. After Close it does nothing.
func (w *Writer) Abort() {
	if !w.closed {
		w.fail(errors.New("the archive was given up"))
		w.stop()
	}
}

func (w *Writer) stop() {
	w.closed = true
	close(w.queue)
	<-w.written
}

func (w *Writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *Writer) line(l indexLine) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines.Encode(l)
}

// frameWriter is the Writer as its tar.Writer sees it.
type frameWriter Writer

func (f *frameWriter) Write(b []byte) (int, error) {
	w := (*Writer)(f)
	n := len(b)
	for w.large && len(w.buf)+len(b) >= w.frameSize {
		k := w.frameSize - len(w.buf)
		w.fill(b[:k])
		b = b[k:]
		w.cut()
		w.start = false
	}
	w.fill(b)
	return n, nil
}

// fill adds to the frame. The first one grows with its content; most archives are small.
func (w *Writer) fill(b []byte) {
	if w.buf == nil && w.at > 0 && len(b) > 0 {
		w.buf = make([]byte, 0, w.frameSize+w.frameSize/8)
	}
	w.buf = append(w.buf, b...)
}

// cut ends the frame.
func (w *Writer) cut() {
	if len(w.buf) > 0 {
		p := &pending{frame: Frame{At: w.at, Start: w.start}, data: w.buf, stored: w.stored, done: make(chan struct{})}
		w.at += int64(len(w.buf))
		w.slots <- struct{}{}
		go func() {
			if p.stored {
				p.data = appendStored(make([]byte, 0, len(p.data)+storedOverhead(len(p.data))), p.data)
			} else {
				p.data = w.encoder.EncodeAll(p.data, make([]byte, 0, len(p.data)/2))
			}
			close(p.done)
		}()
		w.queue <- p
		w.buf = nil
	}
	w.start = true
}

// emit writes the frames in their order.
func (w *Writer) emit() {
	defer close(w.written)
	offset := int64(0)
	for p := range w.queue {
		<-p.done
		if w.failure() == nil {
			p.frame.Offset, p.frame.Size = offset, int64(len(p.data))
			_, err := w.archive.Write(p.data)
			if err == nil {
				err = w.line(indexLine{Frame: &p.frame})
			}
			if err != nil {
				w.fail(err)
			}
			offset += p.frame.Size
		}
		<-w.slots
	}
}

// sumWriter counts and hashes the bytes that go through it.
type sumWriter struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func newSumWriter(w io.Writer) *sumWriter { return &sumWriter{w: w, hash: sha256.New()} }

func (s *sumWriter) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.hash.Write(b[:n])
	s.n += int64(n)
	return n, err
}

func (s *sumWriter) result() (int64, Sum) { return s.n, Sum(s.hash.Sum(nil)) }
