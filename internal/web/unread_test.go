package web

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// pipes is a listener of connections without any buffer: a write waits for its reader.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// TestStreamsThatNobodyReadsEnd: as many as there may be, each of a client that reads the header of the answer, or nothing
// at all. They have writeTime for an event; then others have their places.
func TestStreamsThatNobodyReadsEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil).login()
	s.mu.Lock()
	s.later = 100*time.Millisecond - writeTime // an event has the rest
	s.mu.Unlock()
	listener := make(pipes)
	server := &http.Server{Handler: s.site}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		close(listener)
		<-served
		server.Close()
	}()
	for i := range maxStreams {
		its, mine := net.Pipe()
		defer mine.Close()
		listener <- its
		if _, err := fmt.Fprintf(mine, "GET /web/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", theToken); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if answer, err := http.ReadResponse(bufio.NewReaderSize(mine, 16), nil); err != nil || answer.StatusCode != http.StatusOK {
				t.Fatalf("stream %d: %v, %v", i, answer, err)
			}
		}
	}
	hometest.Eventually(t, "their places are free", func() bool {
		s.site.live.mu.Lock()
		defer s.site.live.mu.Unlock()
		return s.site.live.streams == 0
	})
	if e := s.events(); e.code != http.StatusOK {
		t.Errorf("a stream of somebody who reads: %d", e.code)
	}
}
