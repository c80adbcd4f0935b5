package zeo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/listen"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// helloBytes is the largest message of a client that has not registered.
const helloBytes = 8 << 10

// conn is one connection. Its reader runs serve.
type conn struct {
	srv      *Server
	nc       net.Conn
	out      *outbox
	address  string
	host     string // see host
	admitted bool   // guarded by srv.mu: it is out of the lobby
	encoding wire.Encoding
	ctx      context.Context // ends with the connection
	cancel   context.CancelFunc
	slow     chan struct{} // places for slow
	turns    chan struct{} // see turn; capacity 1
	unknown  chan struct{} // see readingUnknown; capacity 1
	has      shares
	wait     sync.WaitGroup
	label    atomic.Pointer[string]
	sends    sending
	number   uint64 // among all that there ever were
	since    time.Time
	tally    tally
	uploadAt atomic.Int64 // nanoseconds since 1970 when the last piece of a blob came; 0: none is coming

	// The reader's own:
	hub      *hub // nil until registered
	readOnly bool
	refusals int // of register
	upload   *upload
	values   int64 // of has.values, for the request that is worked off
	sole     sole

	iterators iterators

	mu       sync.Mutex
	txn      *txn  // guarded by mu; the open transaction, whose work is its stage's
	cause    error // guarded by mu: why it ends, the first one
	draining bool  // guarded by mu: it ends when it is not busy
	finishes int   // guarded by mu: how many were asked for and are not answered

	deaf   atomic.Bool // a shutdown waits for nothing more of it: requests are dropped
	linger linger      // the shutdown's own

	downloaded bool                     // guarded by mu: a blob was asked for
	downloadTo int64                    // guarded by mu: the bytes put into the outbox until the end of the last blob
	unsentEnd  int                      // guarded by mu: the bytes of the socket at the end that the client had not taken
	downloads  int                      // guarded by mu: how many blobs were asked for and are not sent
	sending    map[blobID]chan struct{} // guarded by mu: those that are worked off; closed at the end
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, number: s.numbers.Add(1), since: s.o.Clock(), has: s.budgets.shares(), slow: make(chan struct{}, maxSlow), turns: make(chan struct{}, 1), unknown: make(chan struct{}, 1)}
	c.out = newOutbox(nc, s.o.Limits.Queue, s.budgets.kept, c.has.queues, s.o.Clock)
	c.out.over = s.relieve
	if s.o.processors == 1 {
		c.sole.waits = listen.NewKernelWait(nc)
	}
	c.address, c.host = nc.RemoteAddr().String(), host(nc.RemoteAddr())
	if c.address == "" || c.address == "@" {
		c.address = "unix"
	}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	return c
}

// log returns the logger, with the name that the client gave itself.
func (c *conn) log() *slog.Logger {
	who := c.address
	if l := c.label.Load(); l != nil {
		who = *l + " " + who
	}
	return c.srv.log.With("client", who)
}

// end makes the connection end. The first cause is kept. It may be called from
// everywhere, and never blocks for long.
func (c *conn) end(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
		if c.downloaded {
			c.unsentEnd = c.unsent()
		}
	}
	c.mu.Unlock()
	c.cancel()
	c.out.close(cause)
	c.nc.Close()
}

// errProtocol is a breach of the protocol, after which the connection ends.
type errProtocol struct{ what string }

func (e *errProtocol) Error() string { return e.what }

func protocolError(format string, args ...any) error {
	return &errProtocol{clipped(fmt.Sprintf(format, args...))}
}

// serve is the life of a connection. At its end the transaction is always aborted, and
// its locks are given back.
func (c *conn) serve() {
	c.wait.Go(func() {
		if err := c.out.run(); err != nil {
			c.end(err)
		}
	})
	err := c.shielded(c.converse)
	c.mu.Lock()
	if c.cause != nil {
		err = c.cause
	}
	c.mu.Unlock()
	if errors.Is(err, errQueue) || errors.Is(err, errSlow) {
		c.srv.o.Observer.Refused("queue")
	}
	c.end(err)
	c.abandon()
	c.wait.Wait()
	c.tellCut()
	c.iterators.close(c)
	if c.hub != nil {
		c.hub.leave(c)
		c.srv.o.Observer.Connections(c.hub.name, -1)
	}
	c.logEnd(err)
}

// logConnected is called behind the registration, and so behind the handshake of TLS.
func (c *conn) logConnected() {
	log := c.log()
	if secure, ok := c.nc.(*tls.Conn); ok {
		if chain := secure.ConnectionState().PeerCertificates; len(chain) > 0 {
			log = log.With("certificate", certs.Subject(chain[0]))
		}
	}
	log.Info("connected", "storage", c.hub.name, "encoding", string(c.encoding), "read_only", c.readOnly)
}

func (c *conn) logEnd(err error) {
	log := c.log()
	switch {
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, ErrClosed) || errors.Is(err, errProbe):
		log.Info("disconnected")
	case c.hub == nil:
		log.Info("disconnected before it registered", "err", err)
	default:
		log.Warn("connection closed", "err", err)
	}
}

// converse says hello and then works off the requests of the client.
func (c *conn) converse() error {
	// The timer, not a deadline, because reading goes on in between.
	hello := time.AfterFunc(c.srv.o.Limits.Hello, func() {
		c.srv.o.Observer.Refused("hello")
		c.end(fmt.Errorf("no registration within %s", c.srv.o.Limits.Hello))
	})
	defer hello.Stop()
	in := wire.NewSmallReader(piecesReader(c.nc), min(helloBytes, c.srv.o.Limits.Message))
	if err := c.hello(in); err != nil {
		return err
	}
	for c.hub == nil {
		if err := c.flushed(in); err != nil {
			return err
		}
		frame, err := in.Next()
		if err != nil {
			return c.readError(err)
		}
		if err := c.beforeRegistration(frame); err != nil {
			return err
		}
	}
	hello.Stop()
	in.SetLimit(c.srv.budgets.message)
	in.SetGate(&frameGate{c: c})
	in.SetEarly(c.srv.budgets.early)
	defer in.Close()
	c.logConnected()
	for {
		if err := c.flushed(in); err != nil {
			return err
		}
		if done, err := c.uploadPiece(in); err != nil {
			return err
		} else if done {
			continue
		}
		frame, err := in.Next()
		if err != nil {
			return c.readError(err)
		}
		if c.deaf.Load() {
			continue
		}
		if rawID, oid, tid, ok := wire.LoadBefore(c.encoding, frame); ok {
			c.worked(c.loadBefore(rawID, oid, tid))
			continue
		}
		c.worked(false)
		err = c.message(frame)
		c.giveValues()
		if err != nil {
			return err
		}
	}
}

// flushed sends the answers of a burst of requests when there is no other one
// to work off, or when there is a lot to send: a client that asks for more at once
// than the outbox may hold has its answers as fast as it reads them.
func (c *conn) flushed(in *wire.Reader) error {
	if !in.Buffered() {
		if err := c.out.flush(); err != nil {
			return err
		}
		c.sole.choose()
	}
	return c.out.stream(c.ctx)
}

func (c *conn) readError(err error) error {
	if e, ok := errors.AsType[*wire.TooLargeError](err); ok {
		c.srv.o.Observer.Refused("message")
		if e.Limit < c.srv.o.Limits.Message && c.hub != nil {
			return fmt.Errorf("a message of %d bytes; with this memory-limit there may be %d", e.Size, e.Limit)
		}
		return fmt.Errorf("a message of %d bytes; the limit max-message is %d", e.Size, e.Limit)
	}
	return err
}

// request is one call of a client.
type request struct {
	c      *conn
	rawID  []byte
	oneWay bool
	name   string
	args   []any
	ended  func() error // called once, when the answer is in the outbox; nil: nobody waits for it
}

// keep makes the request independent of the frame that it came in. The
// arguments are not copied.
func (r *request) keep() { r.rawID = append([]byte(nil), r.rawID...) }

func (c *conn) decode(frame []byte) (*request, error) {
	m, err := wire.DecodeRequest(c.encoding, frame, c.srv.budgets.values1)
	if errors.Is(err, wire.ErrMemory) && c.hub != nil {
		if err := c.takeValues(len(frame)); err != nil {
			return nil, err
		}
		m, err = wire.DecodeRequest(c.encoding, frame, int(c.values))
	}
	if err != nil {
		return nil, protocolError("a message that cannot be read: %v", err)
	}
	if len(m.RawID) > maxID {
		return nil, protocolError("a request whose id has %d bytes", len(m.RawID))
	}
	if id, ok := m.ID.(int64); ok && id == -1 { // keep-alive
		return nil, nil
	}
	r := &request{c: c, rawID: m.RawID, oneWay: m.OneWay(), name: m.Name}
	switch args := m.Args.(type) {
	case wire.Tuple:
		r.args = args
	case wire.List:
		r.args = args
	default:
		return nil, protocolError("%.60q: the arguments are not a tuple", m.Name)
	}
	return r, nil
}

// beforeRegistration works off a message of a client that has not registered.
func (c *conn) beforeRegistration(frame []byte) error {
	r, err := c.decode(frame)
	if err != nil || r == nil {
		return err
	}
	if r.name != "register" {
		return protocolError("%.60q before register", r.name)
	}
	return c.register(r)
}

// message works off any message but the most frequent one.
func (c *conn) message(frame []byte) error {
	r, err := c.decode(frame)
	if err != nil || r == nil {
		return err
	}
	m, ok := methods[r.name]
	if !ok {
		return protocolError("unknown method %.60q", r.name)
	}
	a := &arguments{list: r.args}
	if len(r.args) < m.min || len(r.args) > m.max {
		a.err = fmt.Errorf("%s takes %d to %d arguments, not %d", r.name, m.min, m.max, len(r.args))
	}
	if len(frame) > maxCall && !m.long {
		a.err = fmt.Errorf("%s has %d bytes; the limit is %d", r.name, len(frame), maxCall)
	}
	if m.writes && c.readOnly {
		return r.fail(zodb.ErrReadOnly)
	}
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	if !m.writes {
		return m.do(c, r, a)
	}
	c.sends.work()
	defer func() { c.sends.came(c.srv.o.Clock(), int64(len(frame))) }()
	return m.do(c, r, a)
}

// answer sends the result of a request.
func (r *request) answer(v any) error {
	if r.oneWay {
		return r.end()
	}
	err := r.c.out.put(func(b []byte) ([]byte, error) { return wire.AppendReply(b, r.c.encoding, r.rawID, v) })
	if err != nil {
		return r.fail(&pythonError{"builtins.ValueError", wire.Tuple{"the result cannot be sent in this encoding: " + err.Error()}})
	}
	return r.end()
}

func (r *request) end() error {
	if r.ended == nil {
		return nil
	}
	return r.ended()
}

// fail sends an error. A one-way call that fails ends the connection, because
// there is no other way to tell.
func (r *request) fail(err error) error {
	p := r.c.describe(err)
	if r.oneWay {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	send := func(details any) error {
		return r.c.out.put(func(b []byte) ([]byte, error) {
			return wire.AppendError(b, r.c.encoding, r.rawID, p.class, details)
		})
	}
	perr := send(p.details)
	if perr != nil {
		perr = send(sendable(p.details))
	}
	if perr != nil {
		return fmt.Errorf("%s: an error that cannot be sent: %w", r.name, errors.Join(err, perr))
	}
	return r.end()
}

// put puts a one-way call to the client into the outbox.
func (c *conn) put(name string, args ...any) error {
	return c.out.put(func(b []byte) ([]byte, error) { return wire.AppendCall(b, c.encoding, name, args...) })
}

// call sends a one-way call to the client.
func (c *conn) call(name string, args ...any) {
	if err := c.put(name, args...); err != nil {
		c.end(fmt.Errorf("send %s: %w", name, err))
		return
	}
	c.out.kick()
}
