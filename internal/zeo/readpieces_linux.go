package zeo

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// piecesConn reads into several places with one system call.
type piecesConn struct {
	net.Conn
	raw syscall.RawConn
}

// piecesReader returns a connection of which package wire reads several pieces of a blob at once; the
// connection itself, if it is more than a socket.
func piecesReader(nc net.Conn) io.Reader {
	if raw := rawSocket(nc); raw != nil {
		return &piecesConn{nc, raw}
	}
	return nc
}

// ReadPieces fills the places in their order with the bytes that are there, and waits for the first one.
func (c *piecesConn) ReadPieces(places [][]byte) (n int, err error) {
	cerr := c.raw.Read(func(fd uintptr) (done bool) {
		for {
			n, err = unix.Readv(int(fd), places)
			switch {
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.EAGAIN):
				return false
			default:
				return true
			}
		}
	})
	switch {
	case cerr != nil: // closed, or the deadline
		return 0, cerr
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
