package txn

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// BlobWriter takes the content of a blob as it comes, before its object is
// stored: see [Txn.BeginBlob]. It is used by one goroutine at a time; memory
// does not grow with its length.
type BlobWriter struct {
	t  *Txn
	mu sync.Mutex // held over each call, because Close of the storage aborts from another goroutine
	b  *stagedBlob
	w  *blobSink

	state blobState
	err   error // of writing or of Close
}

// BeginBlob starts a blob of which the content comes in pieces. It is given to
// StoreBlob or Restore as BlobSource.Staged; if it is not, it goes with the end of
// the transaction. Any number may be open.
func (t *Txn) BeginBlob() (zodb.BlobWriter, error) {
	w, err := t.beginBlob()
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (t *Txn) beginBlob() (*BlobWriter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.m.o.Home.Full {
		return nil, fmt.Errorf("begin a blob: %w", zodb.ErrUnsupported)
	}
	if err := t.expect(txnOpen); err != nil {
		return nil, err
	}
	if err := t.m.o.State.Writable(); err != nil {
		return nil, err
	}
	b := &stagedBlob{name: t.m.stagedName("blob")}
	f, err := t.m.o.Home.FS.Create(b.name)
	if err != nil {
		return nil, fmt.Errorf("begin a blob: %w", t.m.o.State.Refused(err))
	}
	w := &BlobWriter{t: t, b: b, w: newBlobSink(f, record.NewBlobHash())}
	t.blobs = append(t.blobs, b)
	t.writers = append(t.writers, w)
	return w, nil
}

// Write adds to the blob. After an error nothing more can be written, and the
// blob cannot be stored. Errors: ErrDiskFull; ErrScarce; zodb.ErrState after Close or Abort,
// or when the transaction has ended.
func (w *BlobWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state != blobOpen {
		return 0, errBlobClosed()
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.write(p)
	w.wrote(err)
	return n, w.err
}

func errBlobClosed() error {
	return fmt.Errorf("write to a blob: %w: it was closed", zodb.ErrState)
}

// wrote keeps an error of writing.
func (w *BlobWriter) wrote(err error) {
	if err != nil {
		w.err = fmt.Errorf("write to a blob: %w", w.t.m.o.State.Refused(err))
	}
}

// Room returns memory for the next bytes, which Filled adds; none if nothing can be written. It is
// the caller's until then.
func (w *BlobWriter) Room() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state != blobOpen || w.err != nil {
		return nil
	}
	return w.w.buf[len(w.w.buf):cap(w.w.buf)]
}

// Filled is Write of the first n bytes of Room, without a copy.
func (w *BlobWriter) Filled(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state != blobOpen {
		return errBlobClosed()
	}
	if w.err == nil {
		w.wrote(w.w.filled(n))
	}
	return w.err
}

// Size returns how many bytes were written.
func (w *BlobWriter) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.size + int64(len(w.w.buf))
}

// Close ends writing. StoreBlob does it too. It does nothing the second time.
func (w *BlobWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.close()
}

func (w *BlobWriter) close() error {
	switch w.state {
	case blobOpen:
		w.state = blobClosed
		if err := w.t.m.endStaging(w.b, w.w, w.err); err != nil && w.err == nil {
			w.err = fmt.Errorf("write to a blob: %w", w.t.m.o.State.Refused(err))
		}
	case blobAborted:
		return fmt.Errorf("close a blob: %w: it was aborted", zodb.ErrState)
	}
	return w.err
}

// Abort drops the blob, unless it was stored. It does nothing the second time.
func (w *BlobWriter) Abort() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state == blobUsed || w.state == blobAborted {
		return nil
	}
	if w.state == blobOpen { // what is wrong with the file is nothing to who drops it
		_ = w.w.stop()
		_ = w.w.out.f.Close()
	}
	w.state = blobAborted
	if err := w.t.m.o.Home.FS.Remove(w.b.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// stagedOf takes the content of a writer for an operation of a transaction.
func stagedOf(w zodb.BlobWriter, t *Txn) (*stagedBlob, error) {
	own, ok := w.(*BlobWriter)
	if !ok {
		return nil, fmt.Errorf("%w: the blob is of another storage", zodb.ErrState)
	}
	return own.use(t)
}

// use takes the content for an operation of a transaction.
func (w *BlobWriter) use(t *Txn) (*stagedBlob, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != t || w.state == blobUsed {
		return nil, fmt.Errorf("%w: the blob belongs to another transaction, or was stored already", zodb.ErrState)
	}
	if err := w.close(); err != nil {
		return nil, err
	}
	w.state = blobUsed
	return w.b, nil
}
