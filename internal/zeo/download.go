package zeo

import (
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// sendBlob sends a blob in pieces and then answers. A client that does not read
// stops the reading of the file. A damaged blob is an error in place of its first bytes, or of its last
// ones, see [blobStates].
func (c *conn) sendBlob(r *request, a *arguments) error {
	oid, tid := a.oid(0), a.tid(1)
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
		over, err := c.oneAtATime(ctx, blobID{oid, tid})
		if err != nil {
			return err
		}
		defer over()
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
		if err := c.hub.blobStates.compareFirst(ctx, blob, oid, tid); err != nil {
			return r.fail(err)
		}
		begun, err := c.sendPieces(ctx, blob, oid, tid)
		if err == nil {
			return r.answer(nil)
		}
		if _, ofBlob := errors.AsType[*blobError](err); !ofBlob {
			return err
		}
		if begun {
			err = c.hub.blobStates.begunDamaged(oid, tid, err)
		}
		return r.fail(err)
	})
	return nil
}

// oneAtATime waits until no other request of the connection is worked off for the same blob, and returns the
// function for the end of this one. The pieces name no request: a client whose thread was interrupted while it
// waited, and that asks again, would put those of both downloads into one file.
func (c *conn) oneAtATime(ctx context.Context, id blobID) (over func(), err error) {
	for {
		c.mu.Lock()
		other := c.sending[id]
		if other == nil {
			mine := make(chan struct{})
			if c.sending == nil {
				c.sending = make(map[blobID]chan struct{})
			}
			c.sending[id] = mine
			c.mu.Unlock()
			return func() {
				c.mu.Lock()
				delete(c.sending, id)
				c.mu.Unlock()
				close(mine)
			}, nil
		}
		c.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// blobError is an error of a blob, not of the connection.
type blobError struct {
	oid zodb.OID
	tid zodb.TID
	err error
}

func (e *blobError) Error() string {
	return fmt.Sprintf("read the blob of object %s at %s: %v", e.oid, e.tid, e.err)
}

func (e *blobError) Unwrap() error { return e.err }

// sendPieces sends the content of a blob. An error is a *blobError, or one of the connection. It reports whether the client was told that the
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
			return begun, &blobError{oid, tid, err}
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
		if err := pieces.file.blob.Unchanged(ctx); err != nil {
			if ctx.Err() != nil {
				return begun, ctx.Err() // nothing is wrong with the blob
			}
			return begun, &blobError{oid, tid, err}
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
