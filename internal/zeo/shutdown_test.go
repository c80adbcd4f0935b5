package zeo

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestShutdownWaitsForWhoJustComes: connections come at the moment of the shutdown. When it
// returns none of those that were let in goes on. The race detector sees it, too, if the
// connection is waited for that is not counted yet.
func TestShutdownWaitsForWhoJustComes(t *testing.T) {
	t.Parallel()
	s := openStorage(t, memoryHome(t), engine.Options{})
	n := 300
	if testing.Short() {
		n = 50
	}
	for i := range n {
		server, err := New(t.Context(), Options{Clock: time.Now, Storages: []StorageOptions{{Name: "1", Storage: s}}})
		if err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		begin := make(chan struct{})
		var clients []net.Conn
		for range 4 {
			client, its := net.Pipe()
			clients = append(clients, client)
			wait.Go(func() {
				<-begin
				server.welcome(its)
			})
		}
		wait.Go(func() {
			<-begin
			for range i % 20 {
				time.Sleep(time.Microsecond)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = server.Shutdown(ctx)
			if n := server.Connections(); n != 0 {
				t.Errorf("%d connections after the shutdown", n)
			}
		})
		close(begin)
		wait.Wait()
		for _, c := range clients {
			c.Close()
		}
		if n := server.Connections(); n != 0 {
			t.Fatalf("%d connections", n)
		}
	}
}

// TestNoRequestOutlivesTheShutdown: each of these goes on for ever, or for very long, when the
// time of the shutdown ends. It returns all the same, and says that it cut something off.
func TestNoRequestOutlivesTheShutdown(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(t *testing.T, ts *testServer, c *rawClient){
		"a vote that waits for a lock": func(t *testing.T, ts *testServer, c *rawClient) {
			holder := ts.client(c.enc)
			for _, c := range []*rawClient{holder, c} {
				c.begin(mine)
				c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("x"), mine)
				c.request("vote", mine)
			}
			eventually(t, "it waits", func() bool { return ts.order[0].stats.waiting.Load() == 1 && ts.order[0].stats.holding.Load() == 1 })
		},
		"undo logs that wait for memory": func(t *testing.T, ts *testServer, c *rawClient) {
			ts.budgets.answers.Share(0).Add(ts.budgets.answers.Free())
			for range 2 * maxSlow {
				c.request("undoLog", int64(0), int64(-100_000))
			}
			eventually(t, "all places are taken", func() bool { return ts.budgets.answers.Waiting() >= maxSlow })
		},
		"reads that wait for their turn": func(t *testing.T, ts *testServer, c *rawClient) {
			c.commit(1, 0, "x")
			ts.budgets.reads.Share(0).Add(ts.budgets.reads.Free())
			for range 2 * maxSlow {
				c.request("record_iternext", nil)
			}
			eventually(t, "they wait", func() bool { return ts.budgets.reads.Waiting() > 0 })
		},
		"a blob that waits for a file": func(t *testing.T, ts *testServer, c *rawClient) {
			ts.budgets.files.Share(0).Add(ts.budgets.files.Free())
			c.begin(mine)
			c.oneWay("storeBlobStart")
			eventually(t, "it waits", func() bool { return ts.budgets.files.Waiting() == 1 })
		},
		"a message that waits for memory": func(t *testing.T, ts *testServer, c *rawClient) {
			ts.budgets.frames.Share(0).Add(ts.budgets.frames.Free())
			go c.quiet(c.frame(true, "storea", zodb.OID(1), zodb.TID(0), make([]byte, 1<<20), mine))
			eventually(t, "it waits", func() bool { return ts.budgets.frames.Waiting() == 1 })
		},
		"values that wait for memory": func(t *testing.T, ts *testServer, c *rawClient) {
			ts.budgets.values.Share(0).Add(ts.budgets.values.Free())
			c.request("undoInfo", int64(0), int64(-1), wire.Dict{{Key: "a", Value: make(wire.List, 5000)}})
			eventually(t, "they wait", func() bool { return ts.budgets.values.Waiting() == 1 })
		},
		"half a message": func(t *testing.T, ts *testServer, c *rawClient) {
			whole := c.frame(false, "ping")
			c.quiet(whole[:len(whole)/2])
		},
		"answers that nobody reads": func(t *testing.T, ts *testServer, _ *rawClient) {
			tid := ts.client(wire.Msgpack).commit(1, 0, "x")
			c := ts.pipe(wire.Pickle)
			c.request("loadBefore", zodb.OID(1), tid+1)
			eventually(t, "it is being sent", func() bool { return ts.unread() > 0 })
		},
		"a transaction that was voted for": func(t *testing.T, ts *testServer, c *rawClient) {
			c.begin(mine)
			c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("x"), mine)
			c.call("vote", mine)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encodings(t, func(t *testing.T, e wire.Encoding) {
				ts, _, _ := limited(t, Limits{Memory: 64 << 20})
				begin(t, ts, ts.client(e))
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // its time has ended
				ended := make(chan error, 1)
				go func() { ended <- ts.Shutdown(ctx) }()
				select {
				case err := <-ended:
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				case <-time.After(patience):
					t.Fatal("it outlives the shutdown")
				}
				if n := ts.Connections(); n != 0 {
					t.Errorf("%d connections", n)
				}
				h := ts.order[0]
				if n := h.stats.active.Load() + h.stats.holding.Load() + h.stats.waiting.Load(); n != 0 {
					t.Errorf("transactions are left: %+v", n)
				}
			})
		})
	}
}

// slowClose is a connection whose Close takes until many others are being closed.
type slowClose struct {
	net.Conn
	closing *atomic.Int64
	all     int64
}

func (c *slowClose) Close() error {
	if c.closing.Add(1) == c.all {
		c.closing.Add(c.all) // later Closes of the same do not count
	}
	for c.closing.Load() < c.all {
		time.Sleep(time.Millisecond)
	}
	return c.Conn.Close()
}

// slowListener makes them.
type slowListener struct {
	net.Listener
	closing atomic.Int64
	all     int64
}

func (l *slowListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowClose{conn, &l.closing, l.all}, nil
}

// TestShutdownClosesAllConnectionsAtOnce: the Close of a connection by TLS may take seconds. None waits for that of another one.
func TestShutdownClosesAllConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	const clients = 5
	for _, registered := range []bool{false, true} {
		ts := serve(t, Options{})
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l := &slowListener{Listener: tcp, all: clients}
		served := make(chan error, 1)
		go func() { served <- ts.Server.Serve(l) }()
		ts.address = tcp.Addr().String()
		for i := range clients {
			if registered { // a shutdown waits for those that have voted

				c := ts.client(wire.Msgpack)
				c.begin(mine)
				c.oneWay("storea", zodb.OID(i+1), zodb.TID(0), record("x"), mine)
				c.call("vote", mine)
			} else {
				ts.connect()
			}
		}
		eventually(t, "all are connected", func() bool { return ts.Connections() == clients })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = ts.Shutdown(ctx)
		if n := ts.Connections(); n != 0 {
			t.Errorf("%d connections after the shutdown", n)
		}
		<-served
	}
}

// TestLogNamesTheCertificateOfAClient that connects by TLS.
func TestLogNamesTheCertificateOfAClient(t *testing.T) {
	t.Parallel()
	ts, _, log, mine := withCertificates(t, Limits{})
	ts.served(mine)
	name := mine.Certificates[0].Leaf.Subject.CommonName
	if name == "" {
		name = mine.Certificates[0].Leaf.DNSNames[0]
	}
	if !log.has("msg=connected") || !log.has("certificate="+name+" ") {
		t.Errorf("no name %q: %s", name, log.b.String())
	}
}
