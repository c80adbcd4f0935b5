package ops

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// maxConnections is how many connections there may be at once. Only a few programs ask; the rest of
// the files is for clients.
const maxConnections = 64

// connections closes the connection that has been idle for longest when there are too many, so that
// a new request comes through; if none is idle, that with the oldest request: probes and metrics take
// milliseconds, and what takes long are streams, downloads, and those who send a body and never end it.
// All methods may be called concurrently.
type connections struct {
	mu   sync.Mutex
	next uint64
	idle map[net.Conn]struct{} // guarded by mu
	all  map[net.Conn]uint64   // guarded by mu: when they became idle, or their request came
}

// changed is the ConnState of a server.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	switch oldest := c.note(conn, state).(type) {
	case nil:
	case *tls.Conn:
		// Without the farewell of TLS: it would wait for seconds for a client that reads nothing, and nobody is
		// accepted meanwhile.
		oldest.NetConn().Close()
	default:
		oldest.Close()
	}
}

// note returns a connection that has to go; nil if none has to.
func (c *connections) note(conn net.Conn, state http.ConnState) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.idle, c.all = make(map[net.Conn]struct{}), make(map[net.Conn]uint64)
	}
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(c.idle, conn)
		delete(c.all, conn)
		return nil
	case http.StateActive:
		if _, there := c.all[conn]; there { // else it is being closed
			c.next++
			c.all[conn] = c.next
			delete(c.idle, conn)
		}
		return nil
	}
	c.next++
	c.idle[conn] = struct{}{} // new ones have not asked for anything
	c.all[conn] = c.next
	if len(c.all) <= maxConnections {
		return nil
	}
	oldest := conn
	for other, at := range c.all {
		_, idle := c.idle[other]
		if (idle || len(c.idle) == 1) && at < c.all[oldest] {
			oldest = other
		}
	}
	delete(c.idle, oldest)
	delete(c.all, oldest)
	return oldest
}

// secure lists the connections by TLS.
func (c *connections) secure() (list []*tls.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.all {
		if t, ok := conn.(*tls.Conn); ok {
			list = append(list, t)
		}
	}
	return list
}

// EndRevoked ends the connections by TLS for which revoked returns an error, with the answers under way: a
// page asks for each request, but a download may go on for hours. A connection in the middle of its
// handshake is asked about behind it; EndRevoked does not wait for that.
func (s *Server) EndRevoked(revoked func(tls.ConnectionState) error) {
	for _, c := range s.connections.secure() {
		s.ending.Go(func() { // each ends: a handshake has its time
			if err := revoked(c.ConnectionState()); err != nil {
				s.o.Logger.Warn("connection ended: its certificate is revoked", "client", c.RemoteAddr().String(), "err", err)
				c.Close()
			}
		})
	}
}
