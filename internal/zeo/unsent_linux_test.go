package zeo

import (
	"io"
	"testing"
)

// TestUnsentBytes: a client that reads is seen to take what was sent.
func TestUnsentBytes(t *testing.T) {
	t.Parallel()
	o, there := connectedOutbox(t, "unix")
	c := &conn{nc: o.conn}
	if n := c.unsent(); n != 0 {
		t.Errorf("%d bytes of nothing are unsent", n)
	}
	if _, err := o.conn.Write(content(10_000)); err != nil {
		t.Fatal(err)
	}
	if n := c.unsent(); n < 10_000 {
		t.Errorf("%d bytes of 10,000 are unsent, and nobody has read", n)
	}
	if _, err := io.ReadFull(there, make([]byte, 10_000)); err != nil {
		t.Fatal(err)
	}
	if n := c.unsent(); n != 0 {
		t.Errorf("%d bytes are unsent, and all were read", n)
	}
	o.conn.Close()
	if n := c.unsent(); n != 0 {
		t.Errorf("%d bytes are unsent by a closed connection", n)
	}
}
