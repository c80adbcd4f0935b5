package zeoclient

import (
	"context"
	"io"

	"github.com/dirstorage/dirstorage/zodb"
)

// blobKey names a blob on the wire.
type blobKey struct {
	oid    zodb.OID
	serial zodb.TID
}

// blobStream is a blob that was asked for. The reader hands its pieces to the caller, and waits
// until it takes them: so the server is not told to go on while the caller is busy, and memory
// holds only a few pieces.
type blobStream struct {
	pieces  chan []byte   // closed at the end of the blob
	gone    chan struct{} // closed when nobody wants it any more
	over    chan struct{} // closed when another one may ask for the same
	started bool          // the reader's own
	stopped bool          // the reader's own
}

// blobPieces is how many pieces may wait for their taker.
const blobPieces = 8

// SendBlob writes the content of a blob into w, and returns how many bytes it
// has. While w is slow, nothing else arrives on this connection. If w or ctx
// fails, the rest still arrives and is dropped.
func (c *Client) SendBlob(ctx context.Context, oid zodb.OID, serial zodb.TID, w io.Writer) (int64, error) {
	s, err := c.askBlob(ctx, blobKey{oid, serial})
	if err != nil {
		return 0, err
	}
	p := c.start(func(_ any, err error) error {
		c.mu.Lock()
		delete(c.blobs, blobKey{oid, serial})
		c.mu.Unlock()
		if !s.stopped {
			close(s.pieces)
		}
		close(s.over)
		if err == nil && !s.stopped {
			return protocolError("sendBlob is answered before the blob was sent")
		}
		return nil
	}, "sendBlob", oid, serial)
	defer close(s.gone)
	if err := c.Flush(); err != nil {
		return 0, err
	}
	var n int64
	for {
		select {
		case piece, more := <-s.pieces:
			if !more {
				_, err := p.Wait(ctx)
				return n, err
			}
			m, err := w.Write(piece)
			n += int64(m)
			if err != nil {
				return n, err
			}
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
}

// askBlob waits until nobody else asks for the same blob, as the pieces don't name the request they
// belong to.
func (c *Client) askBlob(ctx context.Context, key blobKey) (*blobStream, error) {
	for {
		c.mu.Lock()
		other := c.blobs[key]
		if other == nil {
			s := &blobStream{pieces: make(chan []byte, blobPieces), gone: make(chan struct{}), over: make(chan struct{})}
			c.blobs[key] = s
			c.mu.Unlock()
			return s, nil
		}
		c.mu.Unlock()
		select {
		case <-other.over:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// receiveBlob works off one message of a blob.
func (c *Client) receiveBlob(name string, args []any) error {
	if len(args) < 2 {
		return protocolError("%s of %d arguments", name, len(args))
	}
	oid, err := asOID(args[0])
	if err != nil {
		return err
	}
	serial, err := asTID(args[1])
	if err != nil {
		return err
	}
	c.mu.Lock()
	s := c.blobs[blobKey{oid, serial}]
	c.mu.Unlock()
	first := name == "receiveBlobStart"
	if s == nil || s.started == first || s.stopped {
		return protocolError("%s of object %s at %s comes unexpectedly", name, oid, serial)
	}
	switch {
	case first:
		s.started = true
	case name == "receiveBlobStop":
		s.stopped = true
		close(s.pieces)
	case len(args) != 3:
		return protocolError("%s of %d arguments", name, len(args))
	default:
		piece, err := asBytes(args[2])
		if err != nil {
			return err
		}
		select {
		case s.pieces <- piece:
		case <-s.gone:
		case <-c.end:
		}
	}
	return nil
}
