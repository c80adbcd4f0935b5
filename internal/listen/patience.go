package listen

import (
	"net"
	"syscall"
	"time"
)

// Patience reads from a connection, and can ask again for a while before it waits in the poller of the
// runtime: to wake a processor that sleeps takes longer than many a peer on another one takes to
// answer. One goroutine at a time uses it. Others may write to the connection and close it meanwhile.
type Patience struct {
	nc     net.Conn
	raw    syscall.RawConn
	clock  func() time.Time
	more   int           // how often the next Read asks again
	within time.Duration // and in which time
	came   int           // see Came
	call   call          // of the Read that is under way
}

// call is one patient Read.
type call struct {
	ask    func(fd uintptr) bool
	b      []byte
	n      int
	err    error
	asked  int
	begun  time.Time
	waited bool
}

// NewPatience returns that of a connection. nil: there is none, for what is no socket, or has TLS, or
// on a system that has no such reads.
func NewPatience(nc net.Conn, clock func() time.Time) *Patience {
	s, ok := nc.(syscall.Conn)
	if !ok || !canKernelWait {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	p := &Patience{nc: nc, raw: raw, clock: clock}
	p.call.ask = p.ask
	return p
}

// Next has the next Read, and that alone, ask so many times more before it waits, and within that
// time, which is over soon where others want the processor, too.
func (p *Patience) Next(more int, within time.Duration) { p.more, p.within, p.came = more, within, 0 }

// Came returns how often the last Read after Next has asked until something came. 1: it was there
// already. 0: it was waited for, or there was none.
func (p *Patience) Came() int { return p.came }

// Read implements [io.Reader]. b is not empty.
func (p *Patience) Read(b []byte) (int, error) {
	n, err := p.read(b)
	p.more = 0
	return n, err
}
