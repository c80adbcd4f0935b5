package ops

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

// TestConnectionsThatAskNothingAreClosed: ten times as many as there may be, idle after an
// answer or silent from the beginning; each further request is answered.
func TestConnectionsThatAskNothingAreClosed(t *testing.T) {
	t.Parallel()
	s, err := Listen(Options{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	var idle []net.Conn
	for i := range 10 * maxConnections {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		if i%16 == 0 {
			client := http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
			r, err := client.Get("http://" + s.Addr().String() + "/live")
			if err != nil {
				t.Fatalf("with %d that ask nothing: %v", i+1, err)
			}
			r.Body.Close()
		}
	}
	// The server comes to the last of them when it has time.
	open := len(idle)
	for began := time.Now(); open > maxConnections && time.Since(began) < 5*time.Minute; {
		idle = slices.DeleteFunc(idle, func(c net.Conn) bool {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := io.Copy(io.Discard, c)
			ne, ok := errors.AsType[net.Error](err)
			return !ok || !ne.Timeout()
		})
		open = len(idle)
	}
	if open > maxConnections {
		t.Errorf("%d connections stay", open)
	}
	if open == 0 {
		t.Error("no connection stays")
	}
}

// TestRequestsThatDoNotEndKeepNobodyOut: each of as many connections as there may be begins a body
// that never comes.
func TestRequestsThatDoNotEndKeepNobodyOut(t *testing.T) {
	t.Parallel()
	s, err := Listen(Options{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		end, cancel := context.WithCancel(t.Context())
		cancel()
		_ = s.Shutdown(end) // some requests are under way
	}()
	for range 2 * maxConnections {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	active := func() int {
		s.connections.mu.Lock()
		defer s.connections.mu.Unlock()
		return len(s.connections.all) - len(s.connections.idle)
	}
	for active() < maxConnections {
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get("http://" + s.Addr().String() + "/live")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatal(answer.Status)
		}
	}
}
