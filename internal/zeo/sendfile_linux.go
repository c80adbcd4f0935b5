package zeo

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

const canSendFile = true

// sendMore sends bytes that the kernel may keep until more come. It waits for the peer.
func sendMore(to syscall.RawConn, b []byte) error {
	_, err := sendAll(to, len(b), func(fd, sent int) (int, error) {
		return unix.SendmsgN(fd, b[sent:], nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
	})
	return err
}

// sendFile sends n bytes of a file, and waits for the peer. It returns how many were sent.
// errors.ErrUnsupported: the kernel cannot send this file.
func sendFile(to, file syscall.RawConn, at int64, n int) (sent int, err error) {
	cerr := file.Control(func(from uintptr) {
		sent, err = sendAll(to, n, func(fd, sent int) (int, error) {
			offset := at + int64(sent)
			return unix.Sendfile(fd, int(from), &offset, n-sent)
		})
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if cerr != nil {
		err = cerr // the file was closed
	}
	return sent, err
}

// sendAll calls a function that sends some, until n bytes were sent.
func sendAll(to syscall.RawConn, n int, some func(fd, sent int) (int, error)) (sent int, err error) {
	cerr := to.Write(func(fd uintptr) (done bool) {
		for sent < n {
			var k int
			k, err = some(int(fd), sent)
			switch {
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.EAGAIN):
				return false
			case err != nil:
				return true
			case k <= 0:
				err = io.ErrUnexpectedEOF
				return true
			default:
				sent += k
			}
		}
		return true
	})
	if cerr != nil {
		err = cerr // closed, or the deadline
	}
	return sent, err
}
