package zeo

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

// TestPiecesAreReadWhereverTheConnectionWaits: in the poller or in the kernel, at once or later, as
// many bytes as are there; a deadline, the end of the peer and Close end it.
func TestPiecesAreReadWhereverTheConnectionWaits(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		for _, kernel := range []bool{true, false} {
			t.Run(map[bool]string{true: "kernel", false: "poller"}[kernel]+" "+network, func(t *testing.T) {
				t.Parallel()
				here, there := hometest.Connected(t, network)
				listen.NewKernelWait(here).Set(kernel)
				conn, ok := piecesReader(here).(*piecesConn)
				if !ok {
					t.Fatal("it reads one piece at a time")
				}
				b := make([]byte, 30)
				for _, pause := range []time.Duration{0, 20 * listen.KernelTime, 0} {
					time.AfterFunc(pause, func() { there.Write([]byte("0123456789abcdefg")) })
					clear(b)
					for n := 0; n < 17; {
						places := [][]byte{b[n : n+1], b[n+1 : n+7], b[n+7:]}
						k, err := conn.ReadPieces(places)
						if err != nil || k < 1 || k > 17-n {
							t.Fatalf("after %s: %d bytes behind %d, %v", pause, k, n, err)
						}
						n += k
					}
					if !bytes.Equal(b[:18], []byte("0123456789abcdefg\x00")) {
						t.Fatalf("after %s: %q", pause, b)
					}
				}
				if err := here.SetReadDeadline(time.Now().Add(20 * listen.KernelTime)); err != nil {
					t.Fatal(err)
				}
				if n, err := conn.ReadPieces([][]byte{b[:1], b[1:]}); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("after the deadline: %d bytes, %v", n, err)
				}
				here.SetReadDeadline(time.Time{})
				ended := make(chan error, 1)
				read := func() {
					_, err := conn.ReadPieces([][]byte{b[:1], b[1:]})
					ended <- err
				}
				go read()
				there.Close()
				if err := <-ended; err != io.EOF {
					t.Errorf("after the end of the peer: %v", err)
				}

				here, _ = hometest.Connected(t, network)
				listen.NewKernelWait(here).Set(kernel)
				conn = piecesReader(here).(*piecesConn)
				go read()
				here.Close()
				if err := <-ended; !errors.Is(err, net.ErrClosed) {
					t.Errorf("closed: %v", err)
				}
			})
		}
	}
}
