package zeoclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// protocolVersion is the only one that is spoken.
const protocolVersion = '5'

// readBytes is how much is read at once: some pieces of a blob, which fit into a processor's cache.
const readBytes = 256 << 10

// Raw is a connection on which the caller speaks the protocol frame by frame:
// for tests of a server and for measurements. One goroutine may read and one
// may write at a time.
type Raw struct {
	Conn     net.Conn
	In       *wire.Reader
	Encoding wire.Encoding // after Hello
	out      []byte
	arrived  *arrivals
}

// arrivals counts the bytes that come.
type arrivals struct {
	r io.Reader
	n atomic.Int64
}

func (a *arrivals) Read(b []byte) (int, error) {
	n, err := a.r.Read(b)
	a.n.Add(int64(n))
	return n, err
}

// DialRaw makes a connection, with TLS where it is asked for, and says nothing yet.
func DialRaw(ctx context.Context, o Options) (*Raw, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return dialRaw(ctx, o)
}

func dialRaw(ctx context.Context, o Options) (*Raw, error) {
	conn, err := dialWaiting(ctx, o)
	if err != nil {
		return nil, err
	}
	if o.TLS != nil && o.Network != "unix" {
		secure := tls.Client(conn, o.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("TLS with %s: %w", o.Address, err), conn.Close())
		}
		conn = secure
	}
	arrived := &arrivals{r: conn}
	return &Raw{Conn: conn, In: wire.NewReaderSize(arrived, o.Limit, readBytes), arrived: arrived}, nil
}

// dialWaiting connects, trying again for as long as the options say.
func dialWaiting(ctx context.Context, o Options) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, o.Network, o.Address)
	if err == nil || o.Wait <= 0 {
		return conn, err
	}
	limit, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		select {
		case <-time.After(pause):
		case <-limit.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
		if conn, err = d.DialContext(limit, o.Network, o.Address); err == nil {
			return conn, nil
		}
	}
}

// announcement reads the first message of the server: the letter of its
// encoding and the version of the protocol.
func (r *Raw) announcement() (wire.Encoding, error) {
	b, err := r.In.Next()
	if err != nil {
		return 0, fmt.Errorf("no announcement of the protocol: %w", err)
	}
	if len(b) != 2 || b[1] != protocolVersion {
		return 0, &ProtocolError{fmt.Sprintf("the server announces the protocol %.40q; only version 5 is spoken here", b)}
	}
	return wire.Encoding(b[0]), nil
}

// Hello reads the announcement and answers it, with the encoding e or, if that
// is 0, the server's.
func (r *Raw) Hello(e wire.Encoding) error {
	announced, err := r.announcement()
	if err != nil {
		return err
	}
	if e == 0 {
		e = announced
	}
	if e != wire.Pickle && e != wire.Msgpack {
		return &ProtocolError{fmt.Sprintf("the server announces the unknown encoding %q", byte(e))}
	}
	r.Encoding = e
	return r.writeFrame([]byte{byte(e), protocolVersion})
}

// writeFrame sends one message as it is.
func (r *Raw) writeFrame(payload []byte) error {
	return r.write(func(b []byte) ([]byte, error) { return append(b, payload...), nil })
}

// Write sends one request, or one-way call.
func (r *Raw) Write(id any, oneWay bool, name string, args ...any) error {
	return r.write(func(b []byte) ([]byte, error) {
		return wire.AppendRequest(b, r.Encoding, id, oneWay, name, args...)
	})
}

func (r *Raw) write(f func([]byte) ([]byte, error)) error {
	var err error
	if r.out, err = wire.AppendFrame(r.out[:0], f); err != nil {
		return err
	}
	_, err = r.Conn.Write(r.out)
	return err
}

// Read reads one message, which is good until the next call.
func (r *Raw) Read() (wire.Message, error) {
	frame, err := r.In.Next()
	if err != nil {
		return wire.Message{}, err
	}
	return wire.Decode(r.Encoding, frame)
}

// Call sends a request and returns its result or *ServerError. Messages that
// are no reply are passed over. The result is good until the next Read.
func (r *Raw) Call(id any, name string, args ...any) (any, error) {
	if err := r.Write(id, false, name, args...); err != nil {
		return nil, err
	}
	for {
		m, err := r.Read()
		if err != nil {
			return nil, err
		}
		switch {
		case m.Failed():
			return nil, AsServerError(m.Args)
		case m.Name == replyName:
			return m.Args, nil
		}
	}
}

// Close closes the connection.
func (r *Raw) Close() error { return r.Conn.Close() }

// Register says hello and registers for a storage, and returns its last
// transaction. The ids of calls that come later are the caller's business.
func (r *Raw) Register(e wire.Encoding, storage string, readOnly bool) (zodb.TID, error) {
	if err := r.Hello(e); err != nil {
		return 0, err
	}
	if storage == "" {
		storage = defaultStorage
	}
	v, err := r.Call(int64(1), "register", storage, readOnly)
	if err != nil {
		return 0, fmt.Errorf("register for storage %q: %w", storage, err)
	}
	return asTID(v)
}
