package cli

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestPlainClientOfATLSPortIsTold connects without TLS to a server that wants it, and the
// other way round.
func TestPlainClientOfATLSPortIsTold(t *testing.T) {
	t.Parallel()
	certificate, key := pair(t, "127.0.0.1")
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// The server's --hello-timeout, which is longer.
			if err := c.SetDeadline(time.Now().Add(100 * time.Millisecond)); err == nil {
				err = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{own}}).HandshakeContext(t.Context())
				if err == nil {
					t.Error("a plain client has spoken TLS")
				}
			}
			c.Close()
		}
	}()
	defer func() { l.Close(); <-ended }()
	home := filepath.Join(t.TempDir(), "home")
	url := "zeo://" + l.Addr().String()
	want(t, exitFailed, "hint: the server said nothing: if it wants TLS, give --tls-certificate", "import", url, home)
	want(t, exitFailed, "hint: the server said nothing: if it wants TLS", "bench", url)

	plain, _ := served(t, "", nil)
	want(t, exitFailed, "hint: the server does not speak TLS there: leave --tls-... out", "import", "--tls-authenticate", certificate, plain, home)
}
