package zeo

import "crypto/tls"

// EndRevoked ends the connections by TLS for which revoked returns an error. A connection in the
// middle of its handshake is asked about behind it; EndRevoked does not wait for that.
func (s *Server) EndRevoked(revoked func(tls.ConnectionState) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		secure, ok := c.nc.(*tls.Conn)
		if !ok {
			continue
		}
		s.wait.Go(func() { // Shutdown has all connections end, and their handshakes with them
			if err := revoked(secure.ConnectionState()); err != nil {
				c.log().Warn("connection ended: its certificate is revoked", "err", err)
				c.end(err)
			}
		})
	}
}
