package zeo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"syscall"
	"time"
)

// maxSlow bounds the goroutines that answer requests of one connection. Its
// reader waits for a place, and so the client for its answer.
const maxSlow = 64

// maxID is the length in bytes of the longest id of a request, which comes back in its
// answer. Those of Python's clients have 21.
const maxID = 256

// slowly runs f beside the reader. An error of f ends the connection. The
// answers that f gives are sent when it ends, and earlier if it calls kick.
func (c *conn) slowly(f func(ctx context.Context) error) {
	if !c.takePlace() {
		return
	}
	c.beside(func() error {
		defer c.leavePlace()
		return f(c.ctx)
	})
}

// takePlace takes a place for a slow request: one of those that a connection has, and one of
// those that there are in all. It reports false if the connection has ended.
func (c *conn) takePlace() bool {
	select {
	case c.slow <- struct{}{}:
		if c.has.places.Try(1) {
			return true
		}
		<-c.slow
	default:
	}
	// A client that waits for a place may be waiting for an answer of this burst.
	c.out.kick()
	return c.awaitPlace()
}

func (c *conn) leavePlace() {
	c.has.places.Give(1)
	<-c.slow
}

// turn is the right to put an answer that was worked out beside the reader into the
// outbox. One at a time has it, and only once little waits there: a client that
// asks for much at once, and reads it, is not taken for one that does not read.
// It is used by one goroutine.
type turn struct {
	c    *conn
	held bool
}

// try takes it if nobody has it.
func (t *turn) try() bool {
	if !t.held {
		select {
		case t.c.turns <- struct{}{}:
			t.held = true
		default:
		}
	}
	return t.held
}

// wait takes it, and waits until there is room.
func (t *turn) wait(ctx context.Context) error {
	if !t.try() {
		select {
		case t.c.turns <- struct{}{}:
			t.held = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return t.c.out.stream(ctx)
}

// end gives it back; it may be taken again.
func (t *turn) end() {
	if t.held {
		t.held = false
		<-t.c.turns
	}
}

// beside runs f in a goroutine that the connection waits for at its end.
func (c *conn) beside(f func() error) {
	c.wait.Go(func() {
		err := c.shielded(f)
		if err == nil {
			err = c.out.flush()
		}
		if err != nil {
			c.end(err)
		}
	})
}

// shielded runs a part of the connection, and turns a panic into its end: a bug that one
// client found must not cost the others their server.
func (c *conn) shielded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			c.log().Error("bug in the server: the connection is closed", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	return f()
}

// lookTime is how often a reader that waits for a place looks whether the client is there.
const lookTime = 50 * time.Millisecond

// awaitPlace is takePlace where there is none. Without a reader nobody would see that the
// client is gone, and its transaction would keep its locks: so the socket is asked.
func (c *conn) awaitPlace() bool {
	taken := make(chan bool, 1)
	go func() {
		select {
		case c.slow <- struct{}{}:
		case <-c.ctx.Done():
			taken <- false
			return
		}
		err := c.has.places.Take(c.ctx, 1)
		if err != nil {
			<-c.slow
		}
		taken <- err == nil
	}()
	ticker := time.NewTicker(lookTime)
	defer ticker.Stop()
	for {
		select {
		case ok := <-taken:
			return ok
		case <-ticker.C:
			if c.open() != nil && hungUp(c.nc) {
				c.end(io.EOF)
			}
		}
	}
}

// hungUp reports whether the peer has closed the connection, or its sending side, also
// where more is to be read that it sent before. false where that cannot be told.
func hungUp(nc net.Conn) bool {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		nc = t.NetConn()
	}
	s, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	gone := false
	if err == nil {
		err = raw.Control(func(fd uintptr) { gone = peerGone(int(fd)) })
	}
	return gone || errors.Is(err, net.ErrClosed)
}
