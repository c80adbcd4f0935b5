package zeo

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentBytes returns how many bytes of a socket the peer's system has not taken, or, on one machine, the peer; 0 if
// that is not known.
func unsentBytes(socket syscall.RawConn) (n int) {
	// After an error, of a closed socket for instance, n is 0.
	_ = socket.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}
