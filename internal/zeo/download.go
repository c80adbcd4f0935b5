package zeo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dirstorage/dirstorage/zodb"
)

// blobPiece is the size of the pieces in which a blob is sent, as the reference has it.
const blobPiece = 59000

// sendBlob sends a blob in pieces and then answers. A client that does not read
// stops the reading of the file.
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
		c.call("receiveBlobStart", oid, tid)
		piece := make([]byte, blobPiece)
		left := blob.Size()
		for left > 0 {
			n, err := io.ReadFull(blob, piece[:min(left, blobPiece)])
			if err != nil {
				// It is not whole, and the client must not believe that it is.
				return fmt.Errorf("read the blob of object %s at %s: %w", oid, tid, err)
			}
			left -= int64(n)
			if err := c.put("receiveBlobChunk", oid, tid, piece[:n]); err != nil {
				return err
			}
			if err := c.out.stream(ctx); err != nil {
				return err
			}
		}
		c.call("receiveBlobStop", oid, tid)
		return r.answer(nil)
	})
	return nil
}
