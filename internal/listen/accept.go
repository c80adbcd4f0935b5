package listen

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// The pause after an error of accept, which doubles up to the longest.
const (
	shortestPause = 5 * time.Millisecond
	longestPause  = time.Second
)

// Steady returns a listener whose Accept returns no error until it is closed:
// net.ErrClosed then. All others pass — too many open files, no memory, a client that
// went before it was accepted — when somebody goes, so they are logged, and Accept tries
// again after a pause. A server that ended with such an error could be reached by nobody
// until it is restarted.
func Steady(l net.Listener, log *slog.Logger) net.Listener {
	if s, ok := l.(*steady); ok {
		return s
	}
	return &steady{Listener: l, log: log, closed: make(chan struct{})}
}

// Each calls f with each connection that comes in, one after the other, until l is
// closed. It survives every other error, as [Steady] does.
func Each(l net.Listener, log *slog.Logger, f func(net.Conn)) {
	s := Steady(l, log)
	for {
		c, err := s.Accept()
		if err != nil {
			return
		}
		f(c)
	}
}

// steady is the one place of the project where connections are accepted.
type steady struct {
	net.Listener
	log    *slog.Logger
	once   sync.Once
	closed chan struct{}
}

func (s *steady) Accept() (net.Conn, error) {
	pause := time.Duration(0)
	for {
		c, err := s.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return c, err
		}
		s.log.Error("cannot accept a connection, which is tried again", "address", s.Addr().String(), "err", err)
		pause = min(max(2*pause, shortestPause), longestPause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.closed:
			timer.Stop()
			return nil, net.ErrClosed
		}
	}
}

// Close also ends a pause.
func (s *steady) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Listener.Close()
}
