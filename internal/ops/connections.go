package ops

import (
	"net"
	"net/http"
	"sync"
)

// maxConnections is how many connections there may be at once. Only a few programs ask; the rest of
// the files is for clients.
const maxConnections = 64

// connections closes the connection that has been idle for longest when there are too many, so that
// a new request comes through. All methods may be called concurrently.
type connections struct {
	mu   sync.Mutex
	next uint64
	idle map[net.Conn]uint64   // guarded by mu: when they became so
	all  map[net.Conn]struct{} // guarded by mu
}

// changed is the ConnState of a server.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if close := c.note(conn, state); close != nil {
		close.Close()
	}
}

// note returns a connection that has to go; nil if none has to.
func (c *connections) note(conn net.Conn, state http.ConnState) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.idle, c.all = make(map[net.Conn]uint64), make(map[net.Conn]struct{})
	}
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(c.idle, conn)
		delete(c.all, conn)
		return nil
	case http.StateActive:
		delete(c.idle, conn)
		return nil
	}
	c.next++
	c.idle[conn] = c.next // new ones have not asked for anything
	c.all[conn] = struct{}{}
	if len(c.all) <= maxConnections {
		return nil
	}
	oldest := conn
	for other, at := range c.idle {
		if at < c.idle[oldest] {
			oldest = other
		}
	}
	delete(c.idle, oldest)
	delete(c.all, oldest)
	return oldest
}
