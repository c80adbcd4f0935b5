package ops

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// writes counts those of a connection.
type writes struct {
	net.Conn
	n atomic.Int64
}

func (w *writes) Write(b []byte) (int, error) {
	w.n.Add(1)
	return w.Conn.Write(b)
}

// TestAConnectionThatHasToGoIsSentNothing: it may be full, and the listener would wait for a client that does not read.
func TestAConnectionThatHasToGoIsSentNothing(t *testing.T) {
	t.Parallel()
	identity := httptest.NewUnstartedServer(nil)
	identity.StartTLS()
	conf := identity.TLS.Clone()
	identity.Close()
	here, there := net.Pipe()
	defer there.Close()
	sent := &writes{Conn: here}
	oldest := tls.Server(sent, conf)
	client := tls.Client(there, &tls.Config{InsecureSkipVerify: true})
	told := make(chan error, 1)
	go func() {
		err := client.Handshake()
		if err == nil {
			_, err = client.Read(make([]byte, 1)) // the tickets of the session; then until the end
		}
		told <- err
	}()
	if err := oldest.Handshake(); err != nil {
		t.Fatal(err)
	}
	var c connections
	c.changed(oldest, http.StateNew)
	before := sent.n.Load()
	for range maxConnections {
		conn, other := net.Pipe()
		defer conn.Close()
		defer other.Close()
		c.changed(conn, http.StateNew)
	}
	if err := <-told; err == nil {
		t.Error("the client has got something")
	}
	if n := sent.n.Load() - before; n != 0 {
		t.Errorf("%d writes on the way out", n)
	}
	if n := c.count(); n != maxConnections {
		t.Errorf("%d connections", n)
	}
}
