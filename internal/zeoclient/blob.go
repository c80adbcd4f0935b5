package zeoclient

import (
	"cmp"
	"context"
	"io"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// blobKey names a blob on the wire.
type blobKey struct {
	oid    zodb.OID
	serial zodb.TID
}

// blobStream is a blob that was asked for. The reader writes its pieces, and waits meanwhile: so the
// server is not told to go on while the caller is busy, and no piece is kept.
type blobStream struct {
	over    chan struct{} // closed when another one may ask for the same
	started bool          // the reader's own
	stopped bool          // the reader's own

	mu     sync.Mutex    // held while a piece is written
	w      io.Writer     // guarded by mu; nil: nobody wants more
	n      int64         // guarded by mu: bytes written
	err    error         // guarded by mu: of w
	failed chan struct{} // closed when err is set
}

// write is called by the reader.
func (s *blobStream) write(piece []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w == nil {
		return
	}
	n, err := s.w.Write(piece)
	s.n += int64(n)
	if err != nil {
		s.w, s.err = nil, err
		close(s.failed)
	}
}

// end makes sure that nothing is written any more, and returns how much was.
func (s *blobStream) end() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = nil
	return s.n, s.err
}

// SendBlob writes the content of a blob into w, and returns how many bytes it
// has. While w is slow, nothing else arrives on this connection; so w must not wait for anything
// that does. If w or ctx fails, the rest still arrives and is dropped.
func (c *Client) SendBlob(ctx context.Context, oid zodb.OID, serial zodb.TID, w io.Writer) (int64, error) {
	s, err := c.askBlob(ctx, blobKey{oid, serial}, w)
	if err != nil {
		return 0, err
	}
	p := c.start(func(_ any, err error) error {
		c.mu.Lock()
		delete(c.blobs, blobKey{oid, serial})
		c.mu.Unlock()
		close(s.over)
		if err == nil && !s.stopped {
			return protocolError("sendBlob is answered before the blob was sent")
		}
		return nil
	}, "sendBlob", oid, serial)
	if err := c.Flush(); err != nil {
		n, _ := s.end()
		return n, err
	}
	select {
	case <-p.Done():
	case <-s.failed:
	case <-ctx.Done():
		n, err := s.end()
		return n, cmp.Or(err, ctx.Err()) // the answer may come yet, but not the pieces that were dropped
	}
	n, err := s.end()
	if err != nil {
		return n, err
	}
	_, err = p.Wait(ctx)
	return n, err
}

// askBlob waits until nobody else asks for the same blob, as the pieces don't name the request they
// belong to.
func (c *Client) askBlob(ctx context.Context, key blobKey, w io.Writer) (*blobStream, error) {
	for {
		c.mu.Lock()
		other := c.blobs[key]
		if other == nil {
			s := &blobStream{w: w, failed: make(chan struct{}), over: make(chan struct{})}
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

// receiveBlob works off one message of a blob. It keeps nothing of args.
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
	case len(args) != 3:
		return protocolError("%s of %d arguments", name, len(args))
	default:
		piece, err := asBytes(args[2])
		if err != nil {
			return err
		}
		if len(piece) > 0 { // or else a server sends nothing for ever
			c.heard.answers.Add(1)
		}
		c.heard.busy.Store(true)
		s.write(piece)
		c.heard.busy.Store(false)
	}
	return nil
}
