package zeoclient_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// ending is a context that ends while a blob comes. A later question for its end waits for late
// first.
type ending struct {
	context.Context
	late func()
}

func (e *ending) Done() <-chan struct{} {
	if e.Err() != nil {
		e.late()
	}
	return e.Context.Done()
}

// TestBlobOfAnEndedCallIsNoWholeOne: the rest of the blob, which is dropped, and the answer may come
// right after the call was given up.
func TestBlobOfAnEndedCallIsNoWholeOne(t *testing.T) {
	t.Parallel()
	for range 20 { // of two events the call takes one by chance
		c := dial(t, registered(t, func(f *fake) {
			m := f.expect("sendBlob")
			_ = f.call("receiveBlobStart", zodb.OID(1), zodb.TID(2))
			_ = f.call("receiveBlobChunk", zodb.OID(1), zodb.TID(2), []byte("first"))
			ping := f.expect("ping")
			_ = f.call("receiveBlobChunk", zodb.OID(1), zodb.TID(2), []byte("second"))
			_ = f.call("receiveBlobStop", zodb.OID(1), zodb.TID(2))
			f.reply(m, nil)
			f.reply(ping, nil)
			f.drain()
		}))
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		go func() {
			b := make([]byte, 1)
			_, _ = r.Read(b)
			cancel()
			_, _ = io.Copy(io.Discard, r)
		}()
		n, err := c.SendBlob(&ending{ctx, func() {
			if err := c.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		}}, 1, 2, w)
		w.Close()
		if !errors.Is(err, context.Canceled) && (err != nil || n != 11) {
			t.Fatalf("%d bytes of a blob of 11 came, and the error %v", n, err)
		}
		c.Close()
	}
}
