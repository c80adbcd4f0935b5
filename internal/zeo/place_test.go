package zeo

import (
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestLocksEndWithTheConnection has a client that holds locks, makes endless requests, and goes:
// the waiters for the locks get them meanwhile. With more requests than there are places, nobody
// reads any more who would see that it goes.
func TestLocksEndWithTheConnection(t *testing.T) {
	t.Parallel()
	ends := map[string]func(t *testing.T, c *net.TCPConn){
		"close": func(t *testing.T, c *net.TCPConn) { c.Close() },
		"reset": func(t *testing.T, c *net.TCPConn) {
			if err := c.SetLinger(0); err != nil {
				t.Error(err)
			}
			c.Close()
		},
		"half close": func(t *testing.T, c *net.TCPConn) {
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
		},
	}
	for _, tc := range []struct {
		name     string
		requests int
	}{{"one slow request", 1}, {"all places taken", maxSlow}, {"more than there are places", maxSlow + 20}} {
		for end, hangUp := range ends {
			t.Run(tc.name+", "+end, func(t *testing.T) {
				t.Parallel()
				if tc.requests > maxSlow && runtime.GOOS != "linux" {
					t.Skip("it cannot be told from a socket that its peer is gone")
				}
				hang := make(chan struct{})
				var slow atomic.Bool
				ts := serve(t, Options{afterRead: func() {
					if slow.Load() {
						<-hang
					}
				}})
				defer close(hang)
				setUp := ts.client(wire.Pickle)
				tid := setUp.commit(1, 0, "a")
				slow.Store(true)
				a := ts.client(wire.Pickle)
				a.begin(mine)
				a.oneWay("storea", zodb.OID(1), tid, record("b"), mine)
				a.want(wire.List{}, a.call("vote", mine))
				for range tc.requests {
					a.request("getTid", zodb.OID(1))
				}
				b := ts.client(wire.Pickle)
				b.begin(mine)
				b.oneWay("storea", zodb.OID(1), tid, record("c"), mine)
				vote := b.request("vote", mine)
				eventually(t, "the other one waits", func() bool { return ts.order[0].stats.waiting.Load() == 1 })
				hangUp(t, a.conn.(*net.TCPConn))
				if got, err := b.wait(vote); err != nil || len(got.(wire.List)) != 0 {
					t.Errorf("the vote of the other one: %v, %v", got, err)
				}
			})
		}
	}
}

// TestPeerThatIsThereIsNotTakenForGone: neither one that is silent, nor one whose bytes nobody has
// read.
func TestPeerThatIsThereIsNotTakenForGone(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if hungUp(server) {
		t.Error("a silent peer is taken for gone")
	}
	if _, err := client.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if hungUp(server) {
		t.Error("a peer that has sent something is taken for gone")
	}
	client.Close()
	if runtime.GOOS == "linux" {
		eventually(t, "it is seen that the peer is gone", func() bool { return hungUp(server) })
	}
	one, other := net.Pipe()
	other.Close()
	if hungUp(one) {
		t.Error("of a pipe it cannot be told")
	}
}
