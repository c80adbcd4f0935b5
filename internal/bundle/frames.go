package bundle

import (
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// frameWriter compresses frames side by side, and writes them in their order.
type frameWriter struct {
	w       io.Writer
	encoder *zstd.Encoder
	queue   chan *job     // in order
	work    chan *job     // for the goroutines that compress
	slots   chan struct{} // taken by frames that are not written yet
	size    int           // bytes of a frame for which it takes one slot
	most    int           // slots that a frame takes
	free    sync.Pool     // of *[]byte
	emitted chan struct{}
	stopped bool

	mu  sync.Mutex
	err error // guarded by mu; the first one

	frames []Frame // of emit, until it has ended
	at     int64   // the same
}

type job struct {
	plain, packed []byte
	blocks        uint32
	slots         int
	done          chan struct{}
}

// newFrameWriter makes one that takes over as many frames as fit into ahead bytes, and some for each
// worker at least, before they are written. A frame of a large member counts as several.
func newFrameWriter(w io.Writer, frameSize, workers, ahead int) (*frameWriter, error) {
	window := zstd.MinWindowSize
	for window < frameSize {
		window *= 2
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(workers), zstd.WithEncoderCRC(true), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, err
	}
	waiting := max(4*workers, ahead/frameSize)
	f := &frameWriter{w: w, encoder: encoder, queue: make(chan *job, waiting), work: make(chan *job, waiting), slots: make(chan struct{}, waiting), emitted: make(chan struct{}),
		size: frameSize, most: waiting / (4 * workers)}
	for range workers {
		go f.compress()
	}
	go f.emit()
	return f, nil
}

func (f *frameWriter) compress() {
	for j := range f.work {
		j.packed = f.encoder.EncodeAll(j.plain, f.buffer())
		close(j.done)
	}
}

// put takes a frame over, and returns an empty buffer for the next one.
func (f *frameWriter) put(plain []byte) ([]byte, error) {
	j := &job{plain: plain, blocks: uint32(len(plain) / tarBlock), done: make(chan struct{})}
	f.wait(j, len(plain))
	f.work <- j
	f.queue <- j
	return f.buffer(), f.failure()
}

// buffer returns an empty buffer.
func (f *frameWriter) buffer() []byte {
	if b, ok := f.free.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

// copy takes a frame over that is packed already.
func (f *frameWriter) copy(from Frame, packed []byte) error {
	j := &job{packed: packed, blocks: from.Blocks, done: make(chan struct{})}
	close(j.done)
	f.wait(j, len(packed))
	f.queue <- j
	return f.failure()
}

// wait waits until there is room for a frame of a size in bytes. It is called by one goroutine at a time.
func (f *frameWriter) wait(j *job, size int) {
	j.slots = max(1, min((size+f.size-1)/f.size, f.most))
	for range j.slots {
		f.slots <- struct{}{}
	}
}

func (f *frameWriter) emit() {
	defer close(f.emitted)
	for j := range f.queue {
		<-j.done
		if f.failure() == nil {
			if _, err := f.w.Write(j.packed); err != nil {
				f.fail(err)
			}
		}
		f.frames = append(f.frames, Frame{Offset: f.at, Size: int64(len(j.packed)), Blocks: j.blocks, Sum: checksum(j.packed)})
		f.at += int64(len(j.packed))
		plain, packed := j.plain, j.packed
		if plain != nil {
			f.free.Put(&plain)
		}
		f.free.Put(&packed)
		for range j.slots {
			<-f.slots
		}
	}
}

// close ends the tar. It returns the frames, without the one that ends the tar, and where the
// tar ends.
func (f *frameWriter) close() ([]Frame, int64, error) {
	f.stop()
	if err := f.failure(); err != nil {
		return nil, 0, err
	}
	end := f.encoder.EncodeAll(tarEnd, nil)
	if _, err := f.w.Write(end); err != nil {
		return nil, 0, err
	}
	return f.frames, f.at + int64(len(end)), nil
}

func (f *frameWriter) abort() { f.stop() }

func (f *frameWriter) stop() {
	if !f.stopped {
		f.stopped = true
		close(f.work)
		close(f.queue)
		<-f.emitted
	}
}

func (f *frameWriter) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *frameWriter) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}
