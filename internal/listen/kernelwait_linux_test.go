package listen_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/listen"
)

// long is longer than a call waits in the kernel.
const long = 20 * listen.KernelTime

// TestConnectionsWorkWhereverTheyWait: what is waited for in the kernel may come at once, or when the
// call waits in the poller already; deadlines and Close end it.
func TestConnectionsWorkWhereverTheyWait(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		for _, on := range []bool{true, false} {
			t.Run(map[bool]string{true: "kernel", false: "poller"}[on]+" "+network, func(t *testing.T) {
				t.Parallel()
				here, there := hometest.Connected(t, network)
				w := listen.NewKernelWait(here)
				if w == nil || w.On() {
					t.Fatalf("at first: %v, %t", w, w.On())
				}
				w.Set(true)
				w.Set(on)
				if w.On() != on {
					t.Fatalf("on: %t, want %t", w.On(), on)
				}
				b := make([]byte, 10)
				for _, pause := range []time.Duration{0, 0, long, 0} {
					time.AfterFunc(pause, func() { there.Write([]byte("hello")) })
					if n, err := io.ReadFull(here, b[:5]); err != nil || string(b[:n]) != "hello" {
						t.Fatalf("after %s: %q, %v", pause, b[:n], err)
					}
				}
				if err := here.SetReadDeadline(time.Now().Add(long)); err != nil {
					t.Fatal(err)
				}
				if n, err := here.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("after the deadline: %d bytes, %v", n, err)
				}
				here.SetReadDeadline(time.Time{})

				// Nobody reads.
				much := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
				here.SetWriteDeadline(time.Now().Add(long))
				n, err := here.Write(much)
				if !errors.Is(err, os.ErrDeadlineExceeded) || n == len(much) {
					t.Fatalf("written to nobody: %d bytes, %v", n, err)
				}
				// Nothing was lost or sent twice.
				here.SetWriteDeadline(time.Time{})
				written := make(chan error, 1)
				go func() {
					_, err := here.Write(much[n:])
					written <- err
				}()
				got := make([]byte, len(much))
				if _, err := io.ReadFull(there, got); err != nil || !bytes.Equal(got, much) {
					t.Errorf("what was written came changed: %v", err)
				}
				if err := <-written; err != nil {
					t.Error(err)
				}

				ended := make(chan error, 1)
				go func() {
					_, err := here.Read(b)
					ended <- err
				}()
				here.Close()
				if err := <-ended; !errors.Is(err, net.ErrClosed) {
					t.Errorf("closed: %v", err)
				}
				w.Set(!on) // it is closed
				if w.On() != on {
					t.Error("a closed connection was changed")
				}
			})
		}
	}
}

func TestWhatHasNoSocketDoesNotWaitInTheKernel(t *testing.T) {
	t.Parallel()
	here, _ := net.Pipe()
	w := listen.NewKernelWait(here)
	w.Set(true)
	if w != nil || w.On() {
		t.Errorf("%v, %t", w, w.On())
	}
}
