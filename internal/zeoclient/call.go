package zeoclient

import (
	"context"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

// Pending is a call that was made and whose answer may not be there yet.
type Pending struct {
	c    *Client
	seen func(v any, err error) error // on the reader's goroutine; nil = nothing to do
	done chan struct{}
	sent atomic.Bool
	v    any
	err  error
}

// answer is called once, by the reader or before the call was sent.
func (p *Pending) answer(v any, err error) error {
	var fatal error
	if p.seen != nil {
		fatal = p.seen(v, err)
	}
	p.v, p.err = v, err
	if fatal != nil {
		p.err = fatal
	}
	close(p.done)
	return fatal
}

// Done is closed when the answer is there.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait sends collected messages, and returns the answer: the result, or *ServerError,
// *LostError, ErrClosed, or the error of ctx, after which the answer can still be
// waited for.
func (p *Pending) Wait(ctx context.Context) (any, error) {
	select {
	case <-p.done:
		return p.v, p.err
	default:
	}
	if !p.sent.Swap(true) {
		p.c.fail(p.c.out.flush())
	}
	select {
	case <-p.done:
		return p.v, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start begins a call; seen, if not nil, gets its answer on the reader's
// goroutine, and ends the connection if it returns an error.
func (c *Client) start(seen func(v any, err error) error, name string, args ...any) *Pending {
	p := &Pending{c: c, seen: seen, done: make(chan struct{})}
	c.mu.Lock()
	if c.err != nil || c.calls == nil {
		err := c.err
		c.mu.Unlock()
		_ = p.answer(nil, err) // an error of seen would end the connection, which has ended
		return p
	}
	c.nextID++
	id := c.nextID
	c.calls[id] = p
	c.mu.Unlock()
	err := c.put(false, func(b []byte) ([]byte, error) {
		return wire.AppendRequest(b, c.raw.Encoding, id, false, name, args...)
	})
	if err == nil {
		return p
	}
	c.mu.Lock()
	_, mine := c.calls[id] // else the reader has ended and answers
	delete(c.calls, id)
	c.mu.Unlock()
	if mine {
		_ = p.answer(nil, err)
	}
	return p
}

// put sends one message. The connection ends if it cannot be written.
func (c *Client) put(flush bool, f func([]byte) ([]byte, error)) error {
	err := c.out.put(flush, f)
	if err != nil {
		c.fail(c.out.cause())
	}
	return err
}

// putFrames is put for whole frames, which are not copied.
func (c *Client) putFrames(frames []byte) error {
	err := c.out.putFrames(frames)
	if err != nil {
		c.fail(c.out.cause())
	}
	return err
}

// Start begins a call without waiting for its answer, nor for its being sent:
// that happens when somebody waits, calls or flushes, or when a lot has been collected. The
// calls of one goroutine arrive in their order.
func (c *Client) Start(name string, args ...any) *Pending { return c.start(nil, name, args...) }

// Call makes a call and returns its result. Byte slices in it are the caller's.
func (c *Client) Call(ctx context.Context, name string, args ...any) (any, error) {
	return c.Start(name, args...).Wait(ctx)
}

// OneWay makes a call that is not answered. If the server refuses it, it ends
// the connection.
func (c *Client) OneWay(name string, args ...any) error { return c.oneWay(true, name, args...) }

func (c *Client) oneWay(flush bool, name string, args ...any) error {
	return c.put(flush, func(b []byte) ([]byte, error) {
		return wire.AppendRequest(b, c.raw.Encoding, int64(0), true, name, args...)
	})
}

// Flush sends the collected messages.
func (c *Client) Flush() error {
	err := c.out.flush()
	c.fail(err)
	return err
}
