package listen_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirstorage/dirstorage/internal/listen"
)

// failing is a listener that has errors between its connections.
type failing struct {
	net.Listener
	errs   []error // before each connection
	n      atomic.Int32
	closed chan struct{}
}

func (f *failing) Accept() (net.Conn, error) {
	n := int(f.n.Add(1)) - 1
	if n >= 2*len(f.errs) {
		<-f.closed
		return nil, &net.OpError{Op: "accept", Err: net.ErrClosed}
	}
	if n%2 == 0 {
		return nil, f.errs[n/2]
	}
	c, other := net.Pipe()
	other.Close()
	return c, nil
}

func (f *failing) Addr() net.Addr { return &net.UnixAddr{Name: "s", Net: "unix"} }
func (f *failing) Close() error   { close(f.closed); return nil }

// acceptErrors are what accept(2) may return, wrapped as package net does.
func acceptErrors() (list []error) {
	for _, n := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM,
		syscall.EPROTO, syscall.EINTR, syscall.EAGAIN, syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.EIO} {
		list = append(list, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", n)})
	}
	return append(list, errors.New("an error that nobody knows"))
}

func TestEveryErrorOfAcceptIsSurvived(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		f := &failing{errs: acceptErrors(), closed: make(chan struct{})}
		var came atomic.Int32
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			listen.Each(f, slog.New(slog.NewTextHandler(&out, nil)), func(c net.Conn) { came.Add(1); c.Close() })
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, want := int(came.Load()), len(f.errs); got != want {
			t.Errorf("%d connections came through, want %d", got, want)
		}
		f.Close()
		<-ended
		for _, err := range f.errs {
			if !strings.Contains(out.String(), err.Error()) {
				t.Errorf("the log does not say “%v”", err)
			}
		}
	})
}

// TestPauseOfAcceptGrowsAndEnds: an error that stays costs a try a second, and Close
// does not wait for the pause.
func TestPauseOfAcceptGrowsAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &always{err: syscall.EMFILE}
		l := listen.Steady(f, slog.New(slog.DiscardHandler))
		result := make(chan error)
		go func() {
			_, err := l.Accept()
			result <- err
		}()
		time.Sleep(time.Minute + time.Millisecond)
		synctest.Wait()
		if n := f.tries.Load(); n < 60 || n > 70 {
			t.Errorf("%d tries in a minute", n)
		}
		at := time.Now()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-result; !errors.Is(err, net.ErrClosed) || time.Since(at) > 0 {
			t.Errorf("after Close: %v, %v later", err, time.Since(at))
		}
	})
}

type always struct {
	net.Listener
	err   error
	tries atomic.Int32
}

func (a *always) Accept() (net.Conn, error) { a.tries.Add(1); return nil, a.err }
func (a *always) Addr() net.Addr            { return &net.TCPAddr{} }
func (a *always) Close() error              { return nil }

// TestClosedListenerEnds: with a real one.
func TestClosedListenerEnds(t *testing.T) {
	t.Parallel()
	l, err := listen.Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		listen.Each(l, slog.New(slog.DiscardHandler), func(c net.Conn) { c.Close() })
	}()
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscan(c, new(string)); err == nil {
			t.Error("it was not closed")
		}
		c.Close()
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	<-ended
}
