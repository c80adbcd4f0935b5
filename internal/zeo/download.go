package zeo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

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
	begin := func() error {
		if begun {
			return nil
		}
		begun = true
		return c.put("receiveBlobStart", oid, tid)
	}
	pieces := pieces{r: blob, size: blob.Size(), file: c.out.blobFile(blob), around: func(n int) (head, tail []byte, err error) {
		return wire.AroundBytes(c.encoding, n, "receiveBlobChunk", oid, tid)
	}}
	for part, err := range pieces.readAhead() {
		if err != nil {
			return begun, fmt.Errorf("read the blob of object %s at %s: %w", oid, tid, err)
		}
		if err := begin(); err != nil {
			return begun, err
		}
		if err := c.sendPart(ctx, part); err != nil {
			return begun, err
		}
	}
	if err := begin(); err != nil {
		return begun, err
	}
	if pieces.file != nil {
		if err := pieces.file.blob.Unchanged(); err != nil {
			return begun, fmt.Errorf("read the blob of object %s at %s: %w", oid, tid, err)
		}
	}
	c.call("receiveBlobStop", oid, tid)
	return begun, nil
}

// sendPart sends frames, which are the caller's again when it returns.
func (c *conn) sendPart(ctx context.Context, p part) error {
	sent := make(chan struct{})
	c.out.putPart(p, sent)
	err := c.out.flush()
	<-sent // another goroutine may be writing; each failure ends that
	if err != nil {
		return err
	}
	return c.out.stream(ctx)
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
