package zeo

import (
	"io"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/internal/zeoclient/cachetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestShutdownIsEndedByTheClients: a client that reads the answer to its finish late, and sends other requests before,
// would have its answer dropped by a closed connection. So all of its requests are taken until it ends.
func TestShutdownIsEndedByTheClients(t *testing.T) {
	t.Parallel()
	patient := func(o *Options) { o.lingerTime = patience }
	test := func(t *testing.T, ts *testServer, c *rawClient) {
		c.begin(mine)
		c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("x"), mine)
		c.call("vote", mine)
		id := c.request("tpc_finish", mine)
		eventually(t, "it is committed", func() bool { return ts.order[0].stats.active.Load() == 0 })
		ended := ts.shuts(1)
		eventually(t, "nothing more is waited for", func() bool { return ts.theConn().deaf.Load() })
		for range 100 {
			c.request("ping")
		}
		if tid, err := c.wait(id); err != nil || zodb.TIDFromBytes(tid.([]byte)) != ts.storages["1"].LastTransaction() {
			t.Errorf("the answer is %q, %v", tid, err)
		}
		if frames := c.closed(); len(frames) != 0 {
			t.Errorf("%d more messages", len(frames))
		}
		for range 100 {
			c.request("ping")
		}
		c.conn.Close()
		if err := ended(); err != nil {
			t.Error(err)
		}
	}
	transports(t, Limits{}, func(t *testing.T, ts *testServer, _ *refusals, _ *logBuffer) {
		test(t, ts, ts.client(wire.Pickle))
	}, patient)
	t.Run("unix", func(t *testing.T) {
		ts, _, _ := limited(t, Limits{}, patient)
		its, mine := connectedOutbox(t, "unix")
		test(t, ts, ts.over(mine, its.conn, wire.Pickle))
	})
}

// TestShutdownEndsWithoutIdleClients: they take nothing, and do not close their connections; one of them had a blob, and
// one sends requests all the time.
func TestShutdownEndsWithoutIdleClients(t *testing.T) {
	t.Parallel()
	transports(t, Limits{}, func(t *testing.T, ts *testServer, _ *refusals, _ *logBuffer) {
		blob := content(10_000)
		writer, err := cachetest.Dial(t.Context(), zeoclient.Options{Address: ts.address, TLS: ts.tls}, true)
		if err != nil {
			t.Fatal(err)
		}
		tid := commitBlob(t, writer, 1, 0, "blob", blob)
		writer.Close()
		eventually(t, "it is gone", func() bool { return ts.Connections() == 0 })
		clients := []*rawClient{ts.client(wire.Pickle), ts.client(wire.Msgpack), ts.client(wire.Pickle)}
		clients[1].call("sendBlob", zodb.OID(1), tid)
		go func() {
			for ping := clients[2].frame(false, "ping"); ; {
				if _, err := clients[2].conn.Write(ping); err != nil {
					return
				}
			}
		}()
		if err := ts.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}, func(o *Options) { o.lingerTime = 100 * time.Millisecond })
}

// TestShutdownWaitsForWhoReads: a client that takes a piece of a long answer is waited for; one that stops is not,
// but is while the rest of a blob has not left the server.
func TestShutdownWaitsForWhoReads(t *testing.T) {
	t.Parallel()
	const pieces = 3 * lingerLooks
	ts, _, _ := limited(t, Limits{}, func(o *Options) { o.lingerTime = 100 * patience })
	writer := ts.client(wire.Pickle)
	tid := writer.storeLarge(1, (pieces+2)*pieceBytes)
	writer.conn.Close()
	eventually(t, "it is gone", func() bool { return ts.Connections() == 0 })
	c := ts.pipe(wire.Pickle)
	c.request("loadSerial", zodb.OID(1), tid)
	conn := ts.theConn()
	eventually(t, "the answer is being sent", func() bool { pieces, writing := conn.out.begun(); return pieces > 0 && writing })
	ended := ts.shuts(1)
	eventually(t, "nothing more is waited for", conn.deaf.Load)
	for i := range pieces {
		before, _ := conn.out.begun()
		if _, err := io.ReadFull(c.conn, make([]byte, pieceBytes)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the next piece is begun", func() bool { n, _ := conn.out.begun(); return n > before })
		if conn.stands() {
			t.Fatalf("the client is given up after piece %d", i)
		}
	}
	for i := range lingerLooks - 1 {
		if conn.stands() {
			t.Fatalf("the client is given up after look %d", i)
		}
	}
	conn.mu.Lock()
	conn.downloaded = true
	conn.mu.Unlock()
	for range 10 * lingerLooks {
		if conn.stands() {
			t.Fatal("a blob is cut off")
		}
	}
	conn.mu.Lock()
	conn.downloaded = false
	conn.mu.Unlock()
	for range lingerLooks - 1 {
		conn.stands()
	}
	if !conn.stands() {
		t.Error("the client is waited for")
	}
	c.conn.Close()
	if err := ended(); err != nil {
		t.Error(err)
	}
}
