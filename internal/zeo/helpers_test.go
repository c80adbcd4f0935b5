package zeo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// patience is how long a test waits for an event that has to come.
const patience = 5 * time.Minute

// testServer is a server on loopback with storages in a temporary directory.
type testServer struct {
	*Server
	t        testing.TB
	address  string
	storages map[string]*engine.Storage
	tls      *tls.Config // of clients; nil: they come without
}

// serve starts a server. Storages that o does not name are made: “1”.
func serve(t testing.TB, o Options) *testServer {
	t.Helper()
	ts := &testServer{t: t, storages: make(map[string]*engine.Storage)}
	if len(o.Storages) == 0 {
		o.Storages = []StorageOptions{{Name: "1"}}
	}
	for i, so := range o.Storages {
		if so.Storage == nil {
			o.Storages[i].Storage = newStorage(t, memoryHome(t))
		}
		ts.storages[so.Name], _ = o.Storages[i].Storage.(*engine.Storage)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	ts.start(o)
	return ts
}

// newStorage makes a HOME, or opens it, until the end of the test.
func newStorage(t testing.TB, home string) *engine.Storage {
	t.Helper()
	if err := engine.Create(home, engine.CreateOptions{}); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	return enginetest.Open(t, home, engine.Options{})
}

func (ts *testServer) start(o Options) {
	ts.t.Helper()
	var err error
	if ts.Server, err = New(ts.t.Context(), o); err != nil {
		ts.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		ts.t.Fatal(err)
	}
	ts.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- ts.Server.Serve(l) }()
	ts.t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // cut off open connections
		_ = ts.Shutdown(ctx)
		if err := <-served; !errors.Is(err, ErrClosed) {
			ts.t.Errorf("serve: %v", err)
		}
	})
}

// rawClient is a connection on which a test chooses every byte.
type rawClient struct {
	t    testing.TB
	conn net.Conn
	in   *wire.Reader
	enc  wire.Encoding
	id   int64
	told []wire.Message // calls of the server that came while an answer was waited for
}

// dial connects and says hello.
func (ts *testServer) dial(e wire.Encoding) *rawClient {
	ts.t.Helper()
	c := ts.connect()
	c.enc = e
	if got := c.next(); len(got) != 2 || got[1] != '5' {
		ts.t.Fatalf("announced %q", got)
	}
	c.send([]byte{byte(e), '5'})
	return c
}

// connect opens a connection and says nothing.
func (ts *testServer) connect() *rawClient {
	ts.t.Helper()
	conn, err := net.Dial("tcp", ts.address)
	if err != nil {
		ts.t.Fatal(err)
	}
	ts.t.Cleanup(func() { conn.Close() })
	if ts.tls != nil {
		conn = tls.Client(conn, ts.tls)
	}
	return &rawClient{t: ts.t, conn: conn, in: wire.NewReader(conn, 1<<30), enc: wire.Pickle}
}

// client is a connection that is registered with storage 1.
func (ts *testServer) client(e wire.Encoding) *rawClient {
	ts.t.Helper()
	c := ts.dial(e)
	c.call("register", "1", false)
	return c
}

func (c *rawClient) send(payload []byte) {
	c.t.Helper()
	b, err := wire.AppendFrame(nil, func(b []byte) ([]byte, error) { return append(b, payload...), nil })
	if err == nil {
		_, err = c.conn.Write(b)
	}
	if err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// next returns the next frame.
func (c *rawClient) next() []byte {
	c.t.Helper()
	b, err := c.read()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return b
}

func (c *rawClient) read() ([]byte, error) {
	// A pipe that the server has closed takes none, and earlier frames may be read.
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return nil, err
	}
	b, err := c.in.Next()
	return append([]byte(nil), b...), err
}

// closed fails the test unless the server closes the connection, and returns the frames before
// that.
func (c *rawClient) closed() (frames [][]byte) {
	c.t.Helper()
	for {
		b, err := c.read()
		if err == nil {
			frames = append(frames, b)
			continue
		}
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			c.t.Fatal("the connection stays open")
		}
		return frames
	}
}

// request sends a request and returns its id.
func (c *rawClient) request(name string, args ...any) int64 {
	c.t.Helper()
	c.id++
	b, err := wire.AppendRequest(nil, c.enc, c.id, false, name, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(b)
	return c.id
}

func (c *rawClient) oneWay(name string, args ...any) {
	c.t.Helper()
	b, err := wire.AppendRequest(nil, c.enc, int64(0), true, name, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(b)
}

// message returns the next message of the server.
func (c *rawClient) message() wire.Message {
	c.t.Helper()
	m, err := wire.Decode(c.enc, c.next())
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// failure is the error that a call was answered with.
type failure struct {
	class   string
	details any
}

func (f *failure) Error() string { return fmt.Sprint(f.class, f.details) }

// wait returns the answer to a request. Calls of the server meanwhile are kept in told.
func (c *rawClient) wait(id int64) (any, error) {
	c.t.Helper()
	for {
		m := c.message()
		if m.Name != ".reply" {
			c.told = append(c.told, m)
			continue
		}
		if m.ID != id {
			c.t.Fatalf("the answer to %v came where that to %d was expected", m.ID, id)
		}
		if flag, _ := m.Flag.(int64); flag == 2 {
			pair := m.Args.(wire.Tuple)
			return nil, &failure{pair[0].(string), pair[1]}
		}
		return m.Args, nil
	}
}

// try calls and returns the answer or the error.
func (c *rawClient) try(name string, args ...any) (any, error) {
	c.t.Helper()
	return c.wait(c.request(name, args...))
}

// call is try for calls that must work.
func (c *rawClient) call(name string, args ...any) any {
	c.t.Helper()
	v, err := c.try(name, args...)
	if err != nil {
		c.t.Fatalf("%s%v: %v", name, args, err)
	}
	return v
}

// fails is try for calls that must fail with an exception of that class.
func (c *rawClient) fails(class, name string, args ...any) any {
	c.t.Helper()
	v, err := c.try(name, args...)
	var f *failure
	if !errors.As(err, &f) || f.class != class {
		c.t.Fatalf("%s%v: %v, %v; want %s", name, args, v, err, class)
	}
	return f.details
}

// begin starts a transaction.
func (c *rawClient) begin(ttid any) {
	c.oneWay("tpc_begin", ttid, []byte("user"), []byte("description"), wire.Dict{}, nil, " ")
}

// commit stores one object and returns the tid.
func (c *rawClient) commit(oid zodb.OID, serial zodb.TID, data string) zodb.TID {
	c.t.Helper()
	const ttid = int64(1<<40 + 1)
	c.begin(ttid)
	c.oneWay("storea", oid, serial, record(data), ttid)
	c.want(wire.List{}, c.call("vote", ttid))
	return zodb.TIDFromBytes(c.call("tpc_finish", ttid).([]byte))
}

// want compares values; lists and tuples are the same in msgpack.
func (c *rawClient) want(want, got any) {
	c.t.Helper()
	if c.enc == wire.Msgpack {
		want, got = tuples(want), tuples(got)
	}
	if d := cmp.Diff(want, got); d != "" {
		c.t.Fatalf("-want +got\n%s", d)
	}
}

// tuples turns all lists into tuples.
func tuples(v any) any {
	switch v := v.(type) {
	case wire.List:
		return tuples(wire.Tuple(v))
	case wire.Tuple:
		out := make(wire.Tuple, len(v))
		for i := range v {
			out[i] = tuples(v[i])
		}
		return out
	case wire.Dict:
		out := make(wire.Dict, len(v))
		for i := range v {
			out[i] = wire.Pair{Key: v[i].Key, Value: tuples(v[i].Value)}
		}
		return out
	}
	return v
}

// encodings runs a test in both.
func encodings(t *testing.T, f func(t *testing.T, e wire.Encoding)) {
	for _, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			f(t, e)
		})
	}
}

// record is a data record with a text in it: a class and a state, both pickled.
func record(text string) []byte {
	state := append([]byte{'}', 'X', byte(len(text)), byte(len(text) >> 8), 0, 0}, text...)
	return append([]byte("cpersistent.mapping\nPersistentMapping\n."), append(state, "K\x01s."...)...)
}
