package zeo

import (
	"crypto/tls"
	"sync"
	"time"
)

// A client that was told of a shutdown reads what was sent to it, and closes its connection. One that takes nothing
// meanwhile, or ignores the end, does not hold the shutdown for longer than lingerTime; after a blob, for three times
// as long, since its connection may be all that Python's client lacks of it.
const (
	// lingerTime is enough for an event loop that is busy, and much less than drain-timeout.
	lingerTime = 2 * time.Second
	// lingerLooks is how often a connection is looked at in lingerTime. A machine that is too busy to look waits longer.
	lingerLooks = 20
)

// taken is how far a client has come with what was sent to it.
type taken struct {
	pieces int64 // of the outbox, that were begun
	unsent int   // bytes, of the socket
}

// linger is the knowledge of a shutdown about a connection. One goroutine has it.
type linger struct {
	seen  taken
	quiet int // looks without a change
}

// linger ends the connections whose clients take nothing, and do not close them, until all have gone.
func (s *Server) linger(conns []*conn) {
	for {
		select {
		case <-s.emptied:
			return
		case <-s.ctx.Done():
			return
		case <-time.After(s.o.lingerTime / lingerLooks):
		}
		var stand []*conn
		for _, c := range conns {
			if c.stands() {
				stand = append(stand, c)
			}
		}
		endAll(stand)
	}
}

// endAll ends connections, all at the same time: the Close of TLS sends its end, and waits up to five seconds for a client that
// takes nothing.
func endAll(conns []*conn) {
	var wait sync.WaitGroup
	for _, c := range conns {
		wait.Go(func() { c.end(ErrClosed) })
	}
	wait.Wait()
}

// stands looks at a connection, and reports whether the shutdown waits in vain. Requests of the client
// count for nothing: it may go on with them for ever.
func (c *conn) stands() bool {
	if !c.deaf.Load() || c.ctx.Err() != nil {
		return false
	}
	c.mu.Lock()
	downloaded := c.downloaded
	c.mu.Unlock()
	pieces, writing := c.out.begun()
	now := taken{pieces: pieces, unsent: c.unsent()}
	l, looks := &c.linger, lingerLooks
	if downloaded {
		looks *= 3
	}
	if now != l.seen || downloaded && writing { // the rest of the blob is here
		*l = linger{seen: now}
		return false
	}
	l.quiet++
	return l.quiet >= looks
}

// unsent returns how many bytes of the socket the client has not taken, as far as that is known.
func (c *conn) unsent() int {
	nc := c.nc
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	if socket := rawSocket(nc); socket != nil {
		return unsentBytes(socket)
	}
	return 0
}
