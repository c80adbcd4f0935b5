package zeoclient_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// fake is the server's side of one connection, which a test works by hand.
type fake struct {
	t    testing.TB
	conn net.Conn
	in   *wire.Reader
	e    wire.Encoding
}

// serve runs a script for the one connection that a test makes, and returns
// the options for it. The script ends with the test.
func serve(t testing.TB, script func(f *fake)) zeoclient.Options {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil { // a test that hangs fails
			t.Error(err)
		}
		script(&fake{t: t, conn: conn, in: wire.NewReader(conn, 1<<30), e: wire.Pickle})
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return zeoclient.Options{Address: l.Addr().String(), KeepAlive: -1}
}

// registered is serve with a script that begins after the registration, at the
// tid 100.
func registered(t testing.TB, script func(f *fake)) zeoclient.Options {
	return serve(t, func(f *fake) {
		f.hello()
		f.reply(f.expect("register"), zodb.TID(100))
		script(f)
	})
}

// dial connects a client, which is closed at the end of the test.
func dial(t testing.TB, o zeoclient.Options) *zeoclient.Client {
	t.Helper()
	c, err := zeoclient.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (f *fake) write(payload func([]byte) ([]byte, error)) error {
	b, err := wire.AppendFrame(nil, payload)
	if err != nil {
		f.t.Error(err)
		return err
	}
	_, err = f.conn.Write(b)
	return err
}

func (f *fake) hello() {
	_ = f.write(func(b []byte) ([]byte, error) { return append(b, byte(f.e), '5'), nil })
	if b, err := f.in.Next(); err == nil && len(b) == 2 {
		f.e = wire.Encoding(b[0])
	}
}

// expect reads a message, which must be of that name. At the end of the
// connection it is empty.
func (f *fake) expect(name string) wire.Message {
	frame, err := f.in.Next()
	if err != nil {
		return wire.Message{}
	}
	m, err := wire.Decode(f.e, append([]byte(nil), frame...))
	if err != nil {
		f.t.Error(err)
	}
	if m.Name != name {
		f.t.Errorf("got %s%v, want %s", m.Name, m.Args, name)
	}
	return m
}

// drain reads until the client has gone.
func (f *fake) drain() {
	for {
		if _, err := f.in.Next(); err != nil {
			return
		}
	}
}

func (f *fake) reply(m wire.Message, v any) {
	_ = f.write(func(b []byte) ([]byte, error) { return wire.AppendReply(b, f.e, m.RawID, v) })
}

func (f *fake) fail(m wire.Message, class string, details any) {
	_ = f.write(func(b []byte) ([]byte, error) { return wire.AppendError(b, f.e, m.RawID, class, details) })
}

func (f *fake) call(name string, args ...any) error {
	return f.write(func(b []byte) ([]byte, error) { return wire.AppendCall(b, f.e, name, args...) })
}

// both runs a test in both encodings.
func both(t *testing.T, test func(t *testing.T, e wire.Encoding)) {
	for _, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
		t.Run(string(rune(e)), func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

// wait fails a test that hangs.
func wait(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		t.Fatalf("%s does not come", what)
	}
}

func isProtocolError(err error) bool {
	_, ok := errors.AsType[*zeoclient.ProtocolError](err)
	return ok
}
