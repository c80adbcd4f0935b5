package zeo

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/internal/zeoclient/cachetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestDownloadEndsWithARevokedCertificate: the client has the beginning of a blob. The connection ends at once, without
// the end of the blob; the log has the reason, and names the file that the client has to lose. Others go on.
func TestDownloadEndsWithARevokedCertificate(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, _, log, mine := withCertificates(t, Limits{})
		ts.tls = mine
		writer, err := cachetest.Dial(t.Context(), zeoclient.Options{Address: ts.address, TLS: mine}, true)
		if err != nil {
			t.Fatal(err)
		}
		tid := commitBlob(t, writer, 1, 0, "blob", content(12_000_000))
		writer.Close()
		eventually(t, "it is gone", func() bool { return ts.Connections() == 0 })
		c := ts.client(e)
		// Else the system may take the whole blob before the client reads it.
		if err := c.conn.(*tls.Conn).NetConn().(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
			t.Fatal(err)
		}
		c.request("sendBlob", zodb.OID(1), tid)
		if first := c.message(); first.Name != "receiveBlobStart" {
			t.Fatalf("the first message is %q", first.Name)
		}
		ts.EndRevoked(func(tls.ConnectionState) error { return errors.New("revoked for the test") })
		ts.served(mine) // while the client reads nothing
		for {
			frame, err := c.read()
			if err != nil {
				break
			}
			if m, err := wire.Decode(e, frame); err != nil || m.Name != "receiveBlobChunk" {
				t.Fatalf("the connection goes on: %q came, %v", m.Name, err)
			}
		}
		eventually(t, "the connection is gone", func() bool { return ts.Connections() == 0 })
		for _, part := range []string{"its certificate is revoked", "revoked for the test", "*.blob.dl"} {
			if !log.has(part) {
				t.Errorf("the log has no %q", part)
			}
		}
		if free := ts.budgets.files.Free(); free != ts.budgets.files.Share(0).Most()*2 {
			t.Errorf("%d files are free in the end", free)
		}
	})
}
