package txn

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// memoryFile keeps the written bytes, until it fails.
type memoryFile struct {
	vfs.File
	content bytes.Buffer
	fails   int64 // bytes after which it does
	started int64 // up to where it was asked to be on the disk soon
}

var errFull = errors.New("full")

func (f *memoryFile) Write(p []byte) (int, error) {
	if f.fails > 0 && int64(f.content.Len()+len(p)) > f.fails {
		return 0, errFull
	}
	return f.content.Write(p)
}

func (f *memoryFile) StartSync(offset, length int64) { f.started = offset + length }

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// sinkWays are the ways in which content comes into a sink.
var sinkWays = map[string]func(w *blobSink, content []byte) error{
	"pieces": func(w *blobSink, content []byte) error {
		for len(content) > 0 {
			k := min(len(content), 59_000)
			if _, err := w.write(content[:k]); err != nil {
				return err
			}
			content = content[k:]
		}
		return nil
	},
	"at once": func(w *blobSink, content []byte) error {
		_, err := w.write(content)
		return err
	},
	"stream": func(w *blobSink, content []byte) error {
		return w.readFrom(iotest.HalfReader(bytes.NewReader(content)))
	},
	"in its place": func(w *blobSink, content []byte) error {
		for r := bytes.NewReader(content); r.Len() > 0; {
			n, err := io.ReadFull(r, w.buf[len(w.buf):min(cap(w.buf), len(w.buf)+min(r.Len(), 59_000))])
			if err != nil {
				return err
			}
			if err := w.filled(n); err != nil {
				return err
			}
		}
		return nil
	},
}

// TestBlobSinkWritesAllOfIt compares the file, its size and its checksum for sizes around those of
// the buffers, whichever way the content comes.
func TestBlobSinkWritesAllOfIt(t *testing.T) {
	t.Parallel()
	const second = 8 * blobSinkFirst
	for _, size := range []int{0, 1, blobSinkFirst - 1, blobSinkFirst, blobSinkFirst + 1, blobSinkFirst + second - 1, blobSinkFirst + second,
		blobSinkFirst + second + 1, blobSinkFirst + second + blobSinkSize, blobSinkFirst + second + 2*blobSinkSize, 9<<20 + 12345} {
		content := noise(size)
		for name, put := range sinkWays {
			f := &memoryFile{}
			w := newBlobSink(f, record.NewBlobHash())
			if err := errors.Join(put(w, content), w.finish(), w.stop()); err != nil {
				t.Fatalf("%d bytes, %s: %v", size, name, err)
			}
			if !bytes.Equal(f.content.Bytes(), content) || w.size != int64(size) || w.hash.BlobSum() != record.SumBlob(content) {
				t.Errorf("%d bytes, %s: %d are in the file, %d were counted, or others were", size, name, f.content.Len(), w.size)
			}
			if f.started > int64(size) || int64(size)-f.started >= writebackStep+blobSinkSize {
				t.Errorf("%d bytes, %s: the disk was asked to begin with %d", size, name, f.started)
			}
		}
	}
}

// TestBlobSinkTellsEachError: wherever a write fails, it is told by the end at the latest, and
// nothing is written behind it.
func TestBlobSinkTellsEachError(t *testing.T) {
	t.Parallel()
	content := noise(3 << 20)
	for _, fails := range []int64{1, blobSinkFirst, 9 * blobSinkFirst, 9*blobSinkFirst + 1, 9*blobSinkFirst + blobSinkSize, 2 << 20, 3<<20 - 1} {
		for name, put := range sinkWays {
			f := &memoryFile{fails: fails}
			w := newBlobSink(f, record.NewBlobHash())
			err := put(w, content)
			if err == nil {
				err = w.finish()
			}
			if serr := w.stop(); serr != nil && err == nil {
				t.Errorf("after %d bytes, %s: the end tells %v, and nobody before", fails, name, serr)
			}
			if !errors.Is(err, errFull) {
				t.Errorf("after %d bytes, %s: %v", fails, name, err)
			}
			if got := f.content.Bytes(); !bytes.HasPrefix(content, got) {
				t.Errorf("after %d bytes, %s: something is written behind the gap", fails, name)
			}
		}
	}
}

// TestBlobSinkEndsItsGoroutine whenever it is stopped.
func TestBlobSinkEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, blobSinkFirst, 1 << 20, 2<<20 + 5} {
		w := newBlobSink(&memoryFile{}, record.NewBlobHash())
		if _, err := w.write(noise(size)); err != nil {
			t.Fatal(err)
		}
		emptied := w.emptied
		if begun := emptied != nil; begun != (size >= 9*blobSinkFirst) {
			t.Errorf("%d bytes: a goroutine is there: %t", size, begun)
		}
		if err := errors.Join(w.stop(), w.stop()); err != nil {
			t.Fatal(err)
		}
		if emptied == nil {
			continue
		}
		if _, more := <-emptied; more {
			t.Errorf("%d bytes: the goroutine goes on", size)
		}
	}
}

// stalledFile is a memoryFile whose writes wait from some byte on.
type stalledFile struct {
	memoryFile
	from int
	goOn chan struct{}
}

func (f *stalledFile) Write(b []byte) (int, error) {
	if f.content.Len() >= f.from {
		<-f.goOn
	}
	return f.memoryFile.Write(b)
}

// TestBlobSinkTakesMoreWhileTheFileStalls: all of its memory, and no more.
func TestBlobSinkTakesMoreWhileTheFileStalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &stalledFile{from: 9 * blobSinkFirst, goOn: make(chan struct{})}
		w := newBlobSink(f, record.NewBlobHash())
		content := noise(9*blobSinkFirst + blobSinkMost*blobSinkSize)
		last := len(content) - 1
		if _, err := w.write(content[:last]); err != nil { // it would wait for ever
			t.Fatal(err)
		}
		if got := f.content.Len(); got != f.from {
			t.Errorf("%d bytes are in a file that takes %d", got, f.from)
		}
		full := false
		go func() {
			_, err := w.write(content[last:])
			if err = errors.Join(err, w.finish()); err != nil {
				t.Error(err)
			}
			full = true
		}()
		synctest.Wait()
		if full {
			t.Error("a full sink does not wait for its file")
		}
		close(f.goOn)
		synctest.Wait()
		if !full || !bytes.Equal(f.content.Bytes(), content) {
			t.Errorf("ended: %t, with %d bytes in the file", full, f.content.Len())
		}
	})
}
