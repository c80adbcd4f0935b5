package listen_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/listen"
)

// TestPatienceReadsAsTheConnectionDoes: whether what it asks for is there, comes while it asks, or is
// waited for; and the end of the connection, a deadline and Close.
func TestPatienceReadsAsTheConnectionDoes(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			here, there := connected(t, network)
			p := listen.NewPatience(here, time.Now)
			b := make([]byte, 10)
			read := func(want string) {
				t.Helper()
				if n, err := p.Read(b); err != nil || string(b[:n]) != want {
					t.Fatalf("%q, %v, want %q", b[:n], err, want)
				}
			}
			say := func(what string) {
				if _, err := there.Write([]byte(what)); err != nil {
					t.Error(err)
				}
			}
			for _, more := range []int{0, 1, 1 << 30} {
				say("there")
				p.Next(more, time.Hour)
				read("there")
				if p.Came() != 1 {
					t.Errorf("%d more: what was there already was asked for %d times", more, p.Came())
				}
			}
			p.Next(1<<30, time.Hour)
			go say("comes")
			read("comes")
			if p.Came() < 1 {
				t.Error("what came while it asked was waited for")
			}
			// On a busy machine a few requests can take as long as that, so there are several trials.
			waits := func(more int, within time.Duration) {
				t.Helper()
				for trial := 0; ; trial++ {
					p.Next(more, within)
					timer := time.AfterFunc(long, func() { say("later") })
					read("later")
					timer.Stop()
					switch n := p.Came(); {
					case n == 0:
						return
					case n-1 > more || trial == 9:
						t.Fatalf("%d more within %s: what came later was not waited for: %d", more, within, n)
					}
				}
			}
			waits(0, time.Hour)
			waits(10, time.Hour)
			waits(1<<30, time.Millisecond)

			p.Next(10, time.Hour)
			here.SetReadDeadline(time.Now().Add(long))
			if _, err := p.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("after the deadline: %v", err)
			}
			here.SetReadDeadline(time.Time{})
			p.Next(10, time.Hour)
			time.AfterFunc(long, func() { there.Close() })
			if _, err := p.Read(b); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %v", err)
			}
			p.Next(10, time.Hour)
			here.Close()
			if _, err := p.Read(b); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		})
	}
}

// TestPatienceTellsOfACutConnection: an error of the system is that of a connection.
func TestPatienceTellsOfACutConnection(t *testing.T) {
	t.Parallel()
	here, there := connected(t, "tcp")
	p := listen.NewPatience(here, time.Now)
	if p == nil {
		t.Skip("there are no such reads")
	}
	there.(*net.TCPConn).SetLinger(0) // it is reset
	there.Close()
	p.Next(10, time.Hour)
	_, err := p.Read(make([]byte, 10))
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "read" || op.Addr == nil {
		t.Errorf("of a connection that was reset: %v", err)
	}
}

func TestPatienceTakesNoMemory(t *testing.T) {
	here, there := connected(t, "unix")
	p := listen.NewPatience(here, time.Now)
	if p == nil {
		t.Skip("there are no such reads")
	}
	b, said := make([]byte, 10), []byte("hello")
	if n := testing.AllocsPerRun(100, func() {
		there.Write(said)
		p.Next(10, time.Hour)
		if n, err := p.Read(b); err != nil || !bytes.Equal(b[:n], said) {
			t.Fatalf("%q, %v", b[:n], err)
		}
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func TestWhatHasNoSocketIsReadWithoutPatience(t *testing.T) {
	t.Parallel()
	here, _ := net.Pipe()
	if p := listen.NewPatience(here, time.Now); p != nil {
		t.Error("a pipe has one")
	}
}
