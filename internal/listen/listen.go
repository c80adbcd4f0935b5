// Package listen opens the addresses on which a server waits for clients: TCP,
// or a Unix socket. At the path of a Unix socket nothing is ever removed but a
// socket on which nobody listens. Its functions may be called concurrently.
package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"syscall"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// NotSocketError tells that something else than a socket is at the path of one. It
// was not touched.
type NotSocketError struct {
	Path string
	Mode fs.FileMode
}

func (e *NotSocketError) Error() string {
	kind := "a special file"
	switch {
	case e.Mode.IsRegular():
		kind = "a file"
	case e.Mode.IsDir():
		kind = "a directory"
	case e.Mode&fs.ModeSymlink != 0:
		kind = "a symbolic link"
	}
	return fmt.Sprintf("%s is %s, not a socket; it was not touched", e.Path, kind)
}

// unixPath returns the path of a Unix socket; ok is false if an address is not one.
func unixPath(address string) (path string, ok bool) {
	return strings.TrimPrefix(address, "unix:"), strings.Contains(address, "/")
}

// Check returns why [Open] would fail at this moment. It changes nothing.
func Check(address string) error {
	path, ok := unixPath(address)
	if !ok {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		return l.Close()
	}
	_, _, err := examine(path)
	return err
}

// Open listens on host:port, or on a Unix socket if the address has a / in it. A
// socket that a killed process left is replaced. Errors: *NotSocketError; one that
// matches syscall.EADDRINUSE, if another process listens there.
func Open(address string) (net.Listener, error) {
	path, ok := unixPath(address)
	if !ok {
		return net.Listen("tcp", address)
	}
	dir, name, err := vfs.Split(path)
	if err != nil {
		return nil, err
	}
	dead, there, err := examine(path)
	if err != nil {
		return nil, err
	}
	if there {
		if now, err := dir.Stat(name); err != nil || !same(now, dead) {
			return nil, errors.Join(err, fmt.Errorf("listen on %s: another process replaces it at this moment", path))
		}
		if err := dir.Remove(name); err != nil {
			return nil, err
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// It would remove any file that has the name then.
	l.SetUnlinkOnClose(false)
	// Of a server that root runs, so that the owner of the directory can connect.
	err = vfs.SameOwner(dir, name, ".")
	made, serr := dir.Stat(name)
	if err = errors.Join(err, serr); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &unixListener{UnixListener: l, dir: dir, name: name, made: made}, nil
}

// examine looks at the path of a socket. The error is nil if there is nothing, or
// a socket on which nobody listens.
func examine(path string) (info vfs.Info, there bool, err error) {
	dir, name, err := vfs.Split(path)
	if err != nil {
		return info, false, err
	}
	info, err = dir.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if above, aerr := dir.Stat("."); aerr != nil {
			return info, false, aerr
		} else if !above.IsDir() {
			return info, false, &fs.PathError{Op: "listen", Path: path, Err: syscall.ENOTDIR}
		}
		return info, false, nil
	}
	if err != nil {
		return info, false, err
	}
	if info.Mode&fs.ModeSocket == 0 {
		return info, false, &NotSocketError{path, info.Mode}
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return info, true, &net.OpError{Op: "listen", Net: "unix", Addr: &net.UnixAddr{Name: path, Net: "unix"}, Err: syscall.EADDRINUSE}
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return info, true, fmt.Errorf("listen on %s: it cannot be told whether another process listens on the socket that is there: %w", path, err)
	}
	return info, true, nil
}

func same(a, b vfs.Info) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// unixListener removes its name when it ends, unless another file has the name then.
type unixListener struct {
	*net.UnixListener
	dir  vfs.FS
	name string
	made vfs.Info
	once sync.Once
}

func (l *unixListener) Close() error {
	var errs []error
	l.once.Do(func() {
		if now, err := l.dir.Stat(l.name); err == nil && same(now, l.made) {
			errs = append(errs, l.dir.Remove(l.name))
		}
	})
	return errors.Join(append(errs, l.UnixListener.Close())...)
}
