package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// socketAt makes HOME/misc with a socket on which somebody listens.
func socketAt(t *testing.T) (home string, l net.Listener) {
	t.Helper()
	home = t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "misc"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(home, "misc", "control"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return home, l
}

// TestToolIsToldOfAProcessThatDoesNotAnswer: one that never accepts, one that accepts
// and is silent, one that is busy with its status, and one at which too many wait.
func TestToolIsToldOfAProcessThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	const patience = 50 * time.Millisecond
	silent := func(t *testing.T, home string, err error) {
		t.Helper()
		s, ok := errors.AsType[*SilentError](err)
		if !ok || !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), home+" open did not answer for 50ms") || s.Home != home {
			t.Errorf("got %v", err)
		}
	}
	t.Run("accepts nobody", func(t *testing.T) {
		t.Parallel()
		home, _ := socketAt(t)
		_, err := dial(t.Context(), home, patience)
		silent(t, home, err)
	})
	t.Run("says nothing", func(t *testing.T) {
		t.Parallel()
		home, l := socketAt(t)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
			}
		}()
		_, err := dial(t.Context(), home, patience)
		silent(t, home, err)
	})
	t.Run("too many wait", func(t *testing.T) {
		t.Parallel()
		home := t.TempDir()
		if err := os.Mkdir(filepath.Join(home, "misc"), 0o700); err != nil {
			t.Fatal(err)
		}
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
		if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: filepath.Join(home, "misc", "control")}), syscall.Listen(fd, 0)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // they fill the queue, and their events do not come either
			_, err := dial(t.Context(), home, patience)
			silent(t, home, err)
		}
	})
	t.Run("status does not come", func(t *testing.T) {
		t.Parallel()
		home, l := socketAt(t)
		s := serveOn(l, &stuck{ended: make(chan struct{})}, slog.New(slog.DiscardHandler))
		c, err := Dial(t.Context(), home)
		if err != nil {
			t.Fatal(err)
		}
		c.patience = patience
		_, err = c.Status(t.Context())
		silent(t, home, err)
		close(s.storage.(*stuck).ended)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("who asks gives up", func(t *testing.T) {
		t.Parallel()
		home, _ := socketAt(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(patience, cancel)
		if _, err := dial(ctx, home, time.Hour); !errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// stuck is a storage that does not get as far as to describe itself.
type stuck struct {
	fake
	ended chan struct{}
}

func (s *stuck) StatusJSON() ([]byte, error) { <-s.ended; return []byte("{}"), nil }

// TestSocketOutlivesErrorsOfAccept: a moment without descriptors must not be the end of it.
func TestSocketOutlivesErrorsOfAccept(t *testing.T) {
	t.Parallel()
	home, l := socketAt(t)
	s := serveOn(&short{Listener: l}, &fake{}, slog.New(slog.DiscardHandler))
	for range 3 {
		c, err := Dial(t.Context(), home)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Status(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// short is a listener of a process that is out of descriptors now and then.
type short struct {
	net.Listener
	n atomic.Int32
}

func (s *short) Accept() (net.Conn, error) {
	if s.n.Add(1)%2 == 1 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return s.Listener.Accept()
}
