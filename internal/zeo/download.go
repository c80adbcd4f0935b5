package zeo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// blobPiece is the size of the pieces in which a blob is sent, as the reference has it.
const blobPiece = 59000

// sendBlob sends a blob in pieces and then answers. A client that does not read
// stops the reading of the file. A blob that is not what was written is an error in
// place of its last bytes.
func (c *conn) sendBlob(r *request, a *arguments) error {
	oid, tid := a.oid(0), a.tid(1)
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
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
		c.call("receiveBlobStart", oid, tid)
		if err := c.sendPieces(ctx, blob, oid, tid); err != nil {
			if errors.Is(err, zodb.ErrCorrupt) {
				// It has not been told that this was all, so it does not take it for the blob.
				c.hub.suspects.add(oid, tid)
				return r.fail(err)
			}
			return err
		}
		c.call("receiveBlobStop", oid, tid)
		return r.answer(nil)
	})
	return nil
}

// sendPieces sends what is in a blob. The outbox is written by its own goroutine,
// while this one reads and compares the checksum.
func (c *conn) sendPieces(ctx context.Context, blob io.Reader, oid zodb.OID, tid zodb.TID) error {
	piece := make([]byte, blobPiece)
	for {
		n, err := io.ReadFull(blob, piece)
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("read the blob of object %s at %s: %w", oid, tid, err)
		}
		if err := c.put("receiveBlobChunk", oid, tid, piece[:n]); err != nil {
			return err
		}
		if err := c.out.room(ctx); err != nil {
			return err
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
