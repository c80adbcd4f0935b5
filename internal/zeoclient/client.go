package zeoclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

const replyName = ".reply"

// Client is one connection to a storage on a server. All methods may be called
// concurrently. The package's description says which code runs on the reader's goroutine.
type Client struct {
	o    Options
	raw  *Raw
	out  *sender
	last atomic.Uint64 // changed by the reader only
	end  chan struct{} // closed when the connection has ended
	wait sync.WaitGroup

	registered bool // the reader's own: announcements may come

	heard heard

	mu     sync.Mutex
	err    error                   // guarded by mu: why the connection ended
	nextID int64                   // guarded by mu
	calls  map[int64]*Pending      // guarded by mu: those that were not answered yet
	blobs  map[blobKey]*blobStream // guarded by mu: those that were asked for
	ttids  int64                   // guarded by mu: the last handle of a transaction
}

// Dial connects to a server and registers for a storage. ctx is for that only.
func Dial(ctx context.Context, o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	raw, err := dialRaw(ctx, o)
	if err != nil {
		return nil, err
	}
	cancel := context.AfterFunc(ctx, func() { raw.Close() })
	if err := raw.Hello(o.Encoding); err != nil {
		cancel()
		return nil, errors.Join(ctx.Err(), fmt.Errorf("%s: %w", o.Address, err), raw.Close())
	}
	if !cancel() {
		return nil, ctx.Err()
	}
	c := &Client{o: o, raw: raw, out: newSender(raw.Conn), end: make(chan struct{}),
		calls: make(map[int64]*Pending), blobs: make(map[blobKey]*blobStream)}
	c.wait.Go(c.read)
	if err := c.register(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if o.KeepAlive > 0 {
		c.wait.Go(c.keepAlive)
	}
	return c, nil
}

func (c *Client) register(ctx context.Context) error {
	p := c.start(func(v any, err error) error {
		if err != nil {
			return nil
		}
		last, err := asTID(v)
		if err != nil {
			return err
		}
		c.last.Store(uint64(last))
		c.registered = true
		return nil
	}, "register", c.o.Storage, c.o.ReadOnly)
	if _, err := p.Wait(ctx); err != nil {
		return fmt.Errorf("register for storage %q: %w", c.o.Storage, err)
	}
	if c.o.Label != "" {
		return c.OneWay("set_client_label", c.o.Label)
	}
	return nil
}

func (c *Client) keepAlive() {
	tick := time.NewTicker(c.o.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// An error has ended the connection.
			_ = c.put(true, func(b []byte) ([]byte, error) {
				return wire.AppendRequest(b, c.raw.Encoding, int64(-1), false, replyName)
			})
		case <-c.end:
			return
		}
	}
}

// heard is what has come of the server, for the patience with it.
type heard struct {
	answers atomic.Int64 // answers, and pieces of blobs that were asked for
	frames  atomic.Int64 // messages of all kinds
	at      atomic.Int64 // the bytes that had arrived when the last of them was whole
	busy    atomic.Bool  // the reader waits for somebody here
}

const (
	// patienceLooks is how often a client looks in the time of its patience. A machine that is too busy to look waits longer.
	patienceLooks = 10
	// patienceBytes is how much of a message that is not whole counts as an answer: a large record may come over a
	// slow line.
	patienceBytes = 64 << 10
)

// patiently has the server lose the connection if it answers nothing, see Options.Patience, until stop is called.
func (c *Client) patiently(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.watch(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// watch ends the connection if the server answers nothing while calls wait for it. Other messages are no
// answers: a server may tell of transactions for ever whose disk gives it nothing to read.
func (c *Client) watch(ctx context.Context) {
	tick := time.NewTicker(c.o.Patience / patienceLooks)
	defer tick.Stop()
	answers, frame, begun := int64(-1), int64(-1), int64(0)
	for quiet := 0; ; {
		select {
		case <-tick.C:
		case <-c.end:
			return
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		waiting := len(c.calls) > 0
		c.mu.Unlock()
		n, f := c.heard.answers.Load(), c.heard.frames.Load()
		part := c.raw.arrived.n.Load() - c.heard.at.Load()
		if f != frame {
			frame, begun = f, part
		}
		if n != answers || part-begun >= patienceBytes || !waiting || c.heard.busy.Load() {
			answers, begun, quiet = n, part, 0
		} else if quiet++; quiet >= patienceLooks {
			c.fail(fmt.Errorf("the server has answered nothing for %s, and was asked for something: it hangs, or its disk does", c.o.Patience))
		}
	}
}

// LastTID is the last transaction that the server told of: at registration, by
// an invalidation or by the answer to an own commit.
func (c *Client) LastTID() zodb.TID { return zodb.TID(c.last.Load()) }

// Encoding is that of the connection.
func (c *Client) Encoding() wire.Encoding { return c.raw.Encoding }

// Done is closed when the connection has ended; then Err tells why.
func (c *Client) Done() <-chan struct{} { return c.end }

// Err returns why the connection ended: nil while it has not, ErrClosed after Close.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and waits until no callback runs any more. It must
// not be called by one.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	c.wait.Wait()
	return nil
}

// fail ends the connection because of err, if that is not nil. The first cause is kept.
func (c *Client) fail(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if !errors.Is(err, ErrClosed) {
		err = &LostError{err}
	}
	c.err = err
	c.out.fail(err)
	// Everything that was sent is gone with it: an error tells nothing new.
	_ = c.raw.Close()
	close(c.end)
}

// read is the reader.
func (c *Client) read() {
	for {
		frame, err := c.raw.In.Next()
		if err == nil {
			c.heard.at.Store(c.raw.arrived.n.Load())
			c.heard.frames.Add(1)
			err = c.message(frame)
		}
		if err != nil {
			c.fail(err)
			break
		}
	}
	c.mu.Lock()
	calls := c.calls
	c.calls = nil
	err := c.err
	c.mu.Unlock()
	for _, p := range calls {
		p.answer(nil, err)
	}
}

// blobFrame is from which length on a message is looked at before it is copied: it may be a piece
// of a blob, which is not kept.
const blobFrame = 16 << 10

// message works off one message of the server. An error ends the connection.
func (c *Client) message(frame []byte) error {
	if len(frame) >= blobFrame {
		if m, err := wire.Decode(c.raw.Encoding, frame); err == nil && m.Name == "receiveBlobChunk" {
			args, err := sequence(m.Args, -1)
			if err != nil {
				return err
			}
			return c.receiveBlob(m.Name, args)
		}
	}
	// Decoded values share their bytes with the frame, and may be kept.
	m, err := wire.Decode(c.raw.Encoding, bytes.Clone(frame))
	if err != nil {
		return err
	}
	if m.Name == replyName {
		return c.reply(&m)
	}
	args, err := sequence(m.Args, -1)
	if err != nil {
		return err
	}
	switch m.Name {
	case "invalidateTransaction":
		return c.invalidate(args)
	case "info":
		return c.info(args)
	case "receiveBlobStart", "receiveBlobChunk", "receiveBlobStop":
		return c.receiveBlob(m.Name, args)
	}
	return protocolError("the server calls %q", m.Name)
}

func (c *Client) reply(m *wire.Message) error {
	id, ok := m.ID.(int64)
	if !ok {
		return protocolError("a reply with an id of %T, which was never used", m.ID)
	}
	c.mu.Lock()
	p := c.calls[id]
	delete(c.calls, id)
	known := id > 0 && id <= c.nextID
	c.mu.Unlock()
	c.heard.answers.Add(1)
	if p == nil {
		if known {
			return protocolError("a second reply to call %d", id)
		}
		return protocolError("a reply with the id %d, which was never used", id)
	}
	if m.Failed() {
		return p.answer(nil, AsServerError(m.Args))
	}
	return p.answer(m.Args, nil)
}

func (c *Client) invalidate(args []any) error {
	if len(args) != 2 {
		return protocolError("an invalidation of %d arguments", len(args))
	}
	tid, err := asTID(args[0])
	if err != nil {
		return err
	}
	oids, err := asOIDs(args[1])
	if err != nil {
		return err
	}
	return c.announced(tid, func() {
		if c.o.OnInvalidate != nil {
			c.o.OnInvalidate(tid, oids)
		}
	})
}

// announced moves the last tid, after tell was called. Only the reader calls it.
func (c *Client) announced(tid zodb.TID, tell func()) error {
	if !c.registered {
		return protocolError("transaction %s announced before the answer to register", tid)
	}
	if last := c.LastTID(); tid <= last {
		return protocolError("transaction %s announced after %s", tid, last)
	}
	if tell != nil {
		tell()
	}
	c.last.Store(uint64(tid))
	return nil
}

func (c *Client) info(args []any) error {
	if len(args) != 1 {
		return protocolError("info of %d arguments", len(args))
	}
	d, ok := args[0].(wire.Dict)
	if !ok {
		return protocolError("info of %T", args[0])
	}
	if c.o.OnInfo != nil {
		c.o.OnInfo(d)
	}
	return nil
}
