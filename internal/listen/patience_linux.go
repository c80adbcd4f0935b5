package listen

import (
	"errors"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// lookEach is after how many of them it is looked at the clock.
const lookEach = 8

func (p *Patience) read(b []byte) (int, error) {
	c := &p.call
	c.b, c.asked, c.waited, c.begun = b, 0, false, p.clock()
	err := p.raw.Read(c.ask)
	c.b = nil
	switch {
	case err != nil: // closed, or a deadline
		return 0, err
	case c.err != nil:
		return 0, &net.OpError{Op: "read", Net: p.nc.LocalAddr().Network(), Source: p.nc.LocalAddr(), Addr: p.nc.RemoteAddr(), Err: os.NewSyscallError("read", c.err)}
	case c.n == 0:
		return 0, io.EOF
	}
	if !c.waited {
		p.came = c.asked
	}
	return c.n, nil
}

// ask asks until something comes, and reports false if it is to be waited for.
func (p *Patience) ask(fd uintptr) bool {
	c := &p.call
	for {
		c.n, c.err = unix.Read(int(fd), c.b)
		c.asked++
		switch {
		case errors.Is(c.err, unix.EINTR):
			continue
		case !errors.Is(c.err, unix.EAGAIN):
			return true
		case c.waited || c.asked > p.more || c.asked%lookEach == 0 && p.clock().Sub(c.begun) > p.within:
			c.waited = true
			return false
		}
		// Who else wants this processor has it first.
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
}
