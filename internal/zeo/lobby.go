package zeo

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// The lobby has the connections that have not registered: those that say nothing, those in
// the middle of a TLS handshake, and those that are about to be served. It has separate
// room, so that an attacker that fills it takes no place from served connections. When it
// is full the newcomer comes in all the same, and the one goes that has been there
// longest, of those from the address that has most: a client that registers in the time
// that it takes an attacker to fill the lobby gets in.
//
// The server's mu guards it.
type lobby struct {
	order  list.List               // of *conn, the first one came first
	places map[*conn]*list.Element // of order
	hosts  map[string]int          // connections, by result of host
}

func newLobby() lobby {
	return lobby{places: make(map[*conn]*list.Element), hosts: make(map[string]int)}
}

// errCrowded is why a connection ends that has not registered when others come.
var errCrowded = errors.New("it had not registered when too many others came that had not")

// errFull is why a connection ends that cannot be served.
var errFull = errors.New("there are as many connections as the limit allows")

// maxRefusals is how often a connection may try to register in vain. Clients try twice: for
// writing, and then for reading.
const maxRefusals = 10

func (l *lobby) enter(c *conn) {
	l.places[c] = l.order.PushBack(c)
	l.hosts[c.host]++
}

// leave takes c out, if it is there.
func (l *lobby) leave(c *conn) {
	e := l.places[c]
	if e == nil {
		return
	}
	l.order.Remove(e)
	delete(l.places, c)
	if l.hosts[c.host]--; l.hosts[c.host] == 0 {
		delete(l.hosts, c.host)
	}
}

// evict takes out the one that has to go when others come.
func (l *lobby) evict() *conn {
	most := 0
	for _, n := range l.hosts {
		most = max(most, n)
	}
	for e := l.order.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); l.hosts[c.host] == most {
			l.leave(c)
			return c
		}
	}
	return nil
}

// host returns the key that counts as one address: of IPv6 the network, because a host
// has all of it.
func host(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return a.Network()
	}
	ip, ok := netip.AddrFromSlice(tcp.IP)
	if !ok {
		return a.Network()
	}
	bits := 64
	if ip = ip.Unmap(); ip.Is4() {
		bits = 32
	}
	network, err := ip.Prefix(bits)
	if err != nil {
		return ip.String()
	}
	return network.String()
}

// welcome starts a connection, or refuses it. It does not block.
func (s *Server) welcome(nc net.Conn) {
	if _, tcp := nc.(*net.TCPConn); tcp && s.o.TLS != nil {
		nc = tls.Server(nc, s.o.TLS)
	}
	c := newConn(s, nc)
	s.mu.Lock()
	full := s.served >= s.o.Limits.Connections
	if s.draining || full {
		s.mu.Unlock()
		c.end(errFull)
		if full {
			s.refuse(c)
		}
		return
	}
	var evicted *conn
	if len(s.lobby.places) >= s.o.Limits.Unregistered {
		evicted = s.lobby.evict()
	}
	s.conns[c] = struct{}{}
	s.lobby.enter(c)
	s.wait.Go(func() { // Shutdown waits for all that are in conns
		c.serve()
		s.gone(c)
	})
	s.mu.Unlock()
	if evicted != nil {
		s.o.Observer.Refused("unregistered")
		go evicted.end(errCrowded) // its Close may have something to send
	}
}

// refuse tells of a connection that was refused.
func (s *Server) refuse(c *conn) {
	s.o.Observer.Refused("connections")
	s.log.Warn("connection refused: there are as many as the limit allows", "client", c.address, "limit", s.o.Limits.Connections)
}

// admit lets a connection out of the lobby, to be served. The error ends it.
func (s *Server) admit(c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lobby.places[c] == nil {
		return errCrowded
	}
	if s.served >= s.o.Limits.Connections {
		return errFull
	}
	s.lobby.leave(c)
	s.served++
	c.admitted = true
	return nil
}

// gone is called when a connection has ended.
func (s *Server) gone(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.lobby.leave(c)
	if c.admitted {
		s.served--
	}
	if s.draining && len(s.conns) == 0 {
		close(s.emptied)
	}
}

// refused answers a register with an error, and ends a connection that goes on asking.
func (c *conn) refused(r *request, err error) error {
	if c.refusals++; c.refusals > maxRefusals {
		return fmt.Errorf("register was refused %d times: %w", maxRefusals, err)
	}
	return r.fail(err)
}
