package ops

import (
	"context"
	"net"
)

// Close ends a check that is under way, and waits for it until ctx ends. Whoever
// asks after that is told ErrClosed.
func (p *Probe) Close(ctx context.Context) error { return p.once.close(ctx) }

// Addr is the address of the listener.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }
