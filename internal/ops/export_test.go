package ops

import "context"

// Close ends a check that is under way, and waits for it until ctx ends. Whoever
// asks after that is told ErrClosed.
func (p *Probe) Close(ctx context.Context) error { return p.once.close(ctx) }
