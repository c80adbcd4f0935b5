package listen

import (
	"net"
	"sync/atomic"
	"syscall"
)

// KernelWait says where the calls of Read and Write of a connection wait for the peer: in the poller
// of the runtime, or in the kernel. In the kernel a request that is answered at once takes two
// system calls, a read and a write; with the poller it takes nearly five, as a read fails first, and
// the poller is asked twice. But a processor of the runtime may wait with the call, so it is for one
// connection at a time. And it is for a single processor: of several, one that looks for work sees
// the answer before it sleeps, which takes less time than waking it. After [KernelTime] in the kernel a call goes on in the poller, so deadlines
// and Close have their effect so much later.
//
// One goroutine calls Set; others may read, write and close meanwhile. The nil one does nothing.
type KernelWait struct {
	raw   syscall.RawConn
	timed bool // the connection has its times
	on    atomic.Bool
}

// NewKernelWait returns that of a connection, which waits in the poller; nil if it always does.
func NewKernelWait(nc net.Conn) *KernelWait {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		nc = t.NetConn()
	}
	s, ok := nc.(syscall.Conn)
	if !ok || !canKernelWait {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return &KernelWait{raw: raw}
}

// On reports whether calls wait in the kernel. It may be called concurrently.
func (w *KernelWait) On() bool { return w != nil && w.on.Load() }

// Set chooses the kernel, or the poller. If that fails the connection stays as it is: it works both
// ways.
func (w *KernelWait) Set(on bool) {
	if w.On() == on || w == nil {
		return
	}
	_ = w.raw.Control(func(fd uintptr) { // an error says that it is closed
		if !w.timed && !setTimes(int(fd)) {
			return
		}
		w.timed = true
		if setWaiting(int(fd), on) {
			w.on.Store(on)
		}
	})
}
