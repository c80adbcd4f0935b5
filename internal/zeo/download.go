package zeo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// blobPiece is the size of the pieces in which a blob is sent, as the reference has it.
const blobPiece = 59000

// sendBlob sends a blob in pieces and then answers. A client that does not read
// stops the reading of the file. A damaged blob is an error in place of its last bytes.
func (c *conn) sendBlob(r *request, a *arguments) error {
	oid, tid := a.oid(0), a.tid(1)
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
		if err := c.takeFile(ctx); err != nil {
			return err
		}
		defer c.has.files.Give(1)
		blob, err := c.hub.storage.OpenBlob(ctx, oid, tid)
		if errors.Is(err, zodb.ErrNotFound) {
			return r.fail(&blobMissingError{oid, tid})
		}
		if err != nil {
			return r.fail(err)
		}
		defer blob.Close()
		if err := c.hub.suspects.verify(blob, oid, tid); err != nil {
			return r.fail(err)
		}
		begun, err := c.sendPieces(ctx, blob, oid, tid)
		switch {
		case err == nil:
			return r.answer(nil)
		case !errors.Is(err, zodb.ErrCorrupt):
			return err
		case begun:
			c.hub.suspects.add(oid, tid)
		}
		return r.fail(err)
	})
	return nil
}

// sendPieces sends the content of a blob. It reports whether the client was told that the
// blob begins; the client is told that it ends only if all of it is sound.
func (c *conn) sendPieces(ctx context.Context, blob zodb.Blob, oid zodb.OID, tid zodb.TID) (begun bool, err error) {
	begin := func() {
		if !begun {
			begun = true
			c.call("receiveBlobStart", oid, tid)
		}
	}
	for part, err := range readAhead(blob, int(min(blob.Size()+1, partBytes))) {
		if err != nil {
			return begun, fmt.Errorf("read the blob of object %s at %s: %w", oid, tid, err)
		}
		begin()
		for piece := range slices.Chunk(part, blobPiece) {
			if err := c.put("receiveBlobChunk", oid, tid, piece); err != nil {
				return begun, err
			}
		}
		if err := c.out.stream(ctx); err != nil {
			return begun, err
		}
	}
	begin()
	c.call("receiveBlobStop", oid, tid)
	return begun, nil
}

// partBytes is how much of a blob is read and compared with its checksum while the
// part before it is sent.
const partBytes = 8 * blobPiece

// readAhead yields parts of up to n bytes, each good until the next one; an error,
// which is never io.EOF, is the last. While one is worked with another one is read.
func readAhead(r io.Reader, n int) iter.Seq2[[]byte, error] {
	type part struct {
		b   []byte
		err error
	}
	return func(yield func([]byte, error) bool) {
		free, full := make(chan []byte, 2), make(chan part, 2)
		free <- make([]byte, n)
		free <- make([]byte, n)
		go func() {
			defer close(full)
			for b := range free {
				m, err := io.ReadFull(r, b)
				ended := err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)
				switch {
				case err != nil && !ended:
					full <- part{err: err}
				case m > 0:
					full <- part{b: b[:m]}
				}
				if err != nil {
					return
				}
			}
		}()
		more := true
		for p := range full {
			if !more {
				continue // the reader has to end before its file is closed
			}
			if more = yield(p.b, p.err); more {
				free <- p.b[:cap(p.b)]
			} else {
				close(free)
			}
		}
	}
}

// blobID names a blob.
type blobID struct {
	oid zodb.OID
	tid zodb.TID
}

// suspects are blobs that were found damaged while they were sent. A client that
// was sent the beginning of one fails if that begins again, so those are read
// before they are sent. All methods may be called concurrently.
type suspects struct {
	mu  sync.Mutex
	all map[blobID]struct{} // guarded by mu
}

func (s *suspects) add(oid zodb.OID, tid zodb.TID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[blobID]struct{})
	}
	s.all[blobID{oid, tid}] = struct{}{}
}

// verify reads a blob if it is a suspect, and goes back to its start.
func (s *suspects) verify(blob io.ReadSeeker, oid zodb.OID, tid zodb.TID) error {
	s.mu.Lock()
	_, suspect := s.all[blobID{oid, tid}]
	s.mu.Unlock()
	if !suspect {
		return nil
	}
	if _, err := io.Copy(io.Discard, blob); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.all, blobID{oid, tid})
	s.mu.Unlock()
	_, err := blob.Seek(0, io.SeekStart)
	return err
}
