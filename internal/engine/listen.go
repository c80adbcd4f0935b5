package engine

import "github.com/dirstorage/dirstorage/internal/control"

// listen makes the socket by which tools reach the storage. It does not belong to the
// database: without it everything goes on, and the worker tries again.
func (s *Storage) listen() {
	server, err := control.Serve(s.home.FS, s, s.log)
	first, late := s.state.Served(server, err)
	if late {
		err = server.Close()
	}
	if err != nil && first {
		s.log.Warn("no control socket: tools cannot reach this process until there is one", "err", err)
	}
}
