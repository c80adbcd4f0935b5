package zeo

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// shuts begins a shutdown, and returns when n connections are told to end; none of them may be gone by then. ended
// returns its result.
func (ts *testServer) shuts(n int) (ended func() error) {
	ts.t.Helper()
	result := make(chan error, 1)
	go func() { result <- ts.Shutdown(ts.t.Context()) }()
	gone := 0
	eventually(ts.t, "the connections are told to end", func() bool {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		draining := 0
		for c := range ts.conns {
			c.mu.Lock()
			if c.draining {
				draining++
			}
			c.mu.Unlock()
		}
		if ts.draining && len(ts.conns) < n {
			gone = n - len(ts.conns)
		}
		return draining == n || gone > 0
	})
	if gone > 0 {
		ts.t.Fatalf("%d of %d connections are gone at once", gone, n)
	}
	return func() error {
		select {
		case err := <-result:
			return err
		case <-time.After(patience):
			return errors.New("the shutdown does not end")
		}
	}
}

// theConn returns the connection of a server that has one.
func (ts *testServer) theConn() (c *conn) {
	ts.t.Helper()
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.conns) != 1 {
		ts.t.Fatalf("there are %d connections", len(ts.conns))
	}
	for c = range ts.conns {
	}
	return c
}

// TestShutdownWaitsForDownloads: the client has the beginning of a blob when the shutdown begins. It gets
// all of it, and the answer. A blob that it asks for meanwhile is not begun.
func TestShutdownWaitsForDownloads(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		blob := content(5_000_000)
		writer := ts.dialCache(e)
		tid := commitBlob(t, writer, 1, 0, "blob", blob)
		writer.Close()
		eventually(t, "it is gone", func() bool { return ts.Connections() == 0 })
		c := ts.pipe(e)
		id := c.request("sendBlob", zodb.OID(1), tid)
		first := c.message()
		if first.Name != "receiveBlobStart" {
			t.Fatalf("the first message is %q", first.Name)
		}
		ended := ts.shuts(1)
		go c.quiet(c.frame(false, "sendBlob", zodb.OID(1), tid))
		v, err := c.wait(id)
		if v != nil || err != nil {
			t.Errorf("the answer is %v, %v", v, err)
		}
		var got []byte
		for _, m := range c.told {
			if m.Name == "receiveBlobChunk" {
				got = append(got, elements(m.Args)[2].([]byte)...)
			}
		}
		if !bytes.Equal(got, blob) || c.told[len(c.told)-1].Name != "receiveBlobStop" {
			t.Errorf("%d of %d bytes came, and last %s", len(got), len(blob), c.told[len(c.told)-1].Name)
		}
		if frames := c.closed(); len(frames) != 0 {
			t.Errorf("%d more messages", len(frames))
		}
		if err := ended(); err != nil {
			t.Error(err)
		}
	})
}

// TestShutdownWaitsUntilDownloadsAreRead: a client sends other requests while it reads the last pieces, which would
// reset a closed connection. They have no answer. The connection ends when the client closes it.
func TestShutdownWaitsUntilDownloadsAreRead(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		for _, late := range []bool{false, true} { // the answer is in the outbox when the shutdown begins
			ts := serve(t, Options{})
			blob := content(500_000) // fits into the buffers
			writer := ts.dialCache(e)
			tid := commitBlob(t, writer, 1, 0, "blob", blob)
			writer.Close()
			eventually(t, "it is gone", func() bool { return ts.Connections() == 0 })
			c := ts.client(e)
			id := c.request("sendBlob", zodb.OID(1), tid)
			if !late {
				c.message() // receiveBlobStart
			} else {
				eventually(t, "it is answered", func() bool {
					ts.mu.Lock()
					defer ts.mu.Unlock()
					for conn := range ts.conns {
						conn.mu.Lock()
						defer conn.mu.Unlock()
						return conn.downloaded && conn.downloads == 0
					}
					return false
				})
			}
			ended := ts.shuts(1)
			n, answered := 0, false
			for !answered {
				m := c.message()
				switch {
				case m.Name == "receiveBlobChunk":
					n += len(elements(m.Args)[2].([]byte))
				case m.Name == ".reply":
					answered = m.ID == id
				}
				c.request("ping")
			}
			if n != len(blob) {
				t.Errorf("%d of %d bytes came", n, len(blob))
			}
			c.conn.Close()
			if err := ended(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestShutdownEndsWithTheLastTransaction: with the abort of one that was voted for, and with a vote that
// fails.
func TestShutdownEndsWithTheLastTransaction(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		holder, waiter := ts.client(e), ts.client(e)
		tid := holder.commit(1, 0, "x")
		holder.begin(mine)
		holder.oneWay("storea", zodb.OID(1), tid, record("y"), mine)
		holder.call("vote", mine)
		waiter.begin(mine)
		waiter.oneWay("deleteObject", zodb.OID(1), tid, mine)
		vote := waiter.request("vote", mine)
		eventually(t, "it waits", func() bool { return ts.order[0].stats.waiting.Load() == 1 })
		ended := ts.shuts(2)
		holder.call("tpc_finish", mine)
		holder.closed()
		var f *failure
		if _, err := waiter.wait(vote); !errors.As(err, &f) || f.class != classConflict {
			t.Errorf("the vote: %v", err)
		}
		waiter.closed()
		if err := ended(); err != nil {
			t.Error(err)
		}
	})
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c := ts.client(e)
		c.begin(mine)
		c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("x"), mine)
		c.call("vote", mine)
		ended := ts.shuts(1)
		c.want(nil, c.call("tpc_abort", mine))
		c.closed()
		if err := ended(); err != nil {
			t.Error(err)
		}
	})
}

// TestCutDownloadsAreTold: the log names the files that Python's client has to lose.
func TestCutDownloadsAreTold(t *testing.T) {
	t.Parallel()
	log := &logBuffer{}
	ts := serve(t, Options{Logger: log.logger()})
	writer := ts.dialCache(wire.Pickle)
	tid := commitBlob(t, writer, 1, 0, "blob", content(5_000_000))
	c := ts.pipe(wire.Pickle)
	wantBlob(t, writer, 1, tid, content(5_000_000))
	writer.Close()
	eventually(t, "it is gone", func() bool { return ts.Connections() == 1 })
	if log.has(".blob.dl") {
		t.Error("a whole download is told")
	}
	c.request("sendBlob", zodb.OID(1), tid)
	c.message()
	c.conn.Close()
	eventually(t, "the other one is told", func() bool { return log.has("*.blob.dl") && ts.Connections() == 0 })
}

// TestBlobsWhoseEndIsNotTakenAreTold: all of them is sent, or on its way, as far as the requests know.
func TestBlobsWhoseEndIsNotTakenAreTold(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		dial func(*testServer) *rawClient
		size int
		read int // messages; -1: all
	}{
		"its end is in the server":     {func(ts *testServer) *rawClient { return ts.pipe(wire.Pickle) }, 1000, 2},
		"it is in the socket":          {func(ts *testServer) *rawClient { return ts.client(wire.Pickle) }, 1_000_000, 0},
		"it was taken by a pipe":       {func(ts *testServer) *rawClient { return ts.pipe(wire.Pickle) }, 1000, -1},
		"it was taken from the socket": {func(ts *testServer) *rawClient { return ts.client(wire.Pickle) }, 1_000_000, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &logBuffer{}
			ts := serve(t, Options{Logger: log.logger()})
			writer := ts.dialCache(wire.Pickle)
			tid := commitBlob(t, writer, 1, 0, "blob", content(of.size))
			writer.Close()
			eventually(t, "it is gone", func() bool { return ts.Connections() == 0 })
			c := of.dial(ts)
			conn := ts.theConn()
			id := c.request("sendBlob", zodb.OID(1), tid)
			for range of.read {
				c.message()
			}
			if of.read < 0 {
				if _, err := c.wait(id); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "it is answered", func() bool {
				conn.mu.Lock()
				defer conn.mu.Unlock()
				_, pending := conn.out.counts()
				return conn.downloaded && conn.downloads == 0 && (of.read >= 0 || pending == 0)
			})
			c.conn.Close()
			eventually(t, "the connection is gone", func() bool { return ts.Connections() == 0 })
			if told := log.has("*.blob.dl"); told != (of.read >= 0) {
				t.Errorf("told: %v", told)
			}
		})
	}
}
