package ops

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// hostile are the first bytes of clients that do not read, by the kind of their fault.
func hostile() map[string]string {
	const get = "GET /metrics HTTP/1.1\r\nHost: x\r\n"
	return map[string]string{
		"silence":                 "",
		"half a hello of TLS":     "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"a hello of 16 MB":        "\x16\x03\x01\x00\x04\x01\xff\xff\xff",
		"half a header":           get + "X: " + strings.Repeat("x", 4000),
		"a header without an end": get + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 200),
		"a message of ZEO":        "\x00\x00\x00\x02Z5",
		"a length of 4 GiB":       "\xff\xff\xff\xff",
		"a body of 8 EiB":         "POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\nx",
		"a chunk of 16 EiB":       "POST /live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
		"two lengths":             "POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\nx",
		"many requests at once":   strings.Repeat(get+"\r\n", 300),
		"the preface of HTTP/2":   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00\xff\xff\x00\x00\x00\x00\x00\x01", 50),
	}
}

// files counts the descriptors of this process; 0 where that cannot be seen.
func files() int {
	list, _ := os.ReadDir("/proc/self/fd")
	return len(list)
}

// TestAHostileCrowdKeepsNoProbeOut: connections of all kinds of faults come and stay, far more than there may be, with
// answers that nobody reads. Probes are answered all the time; memory, goroutines and descriptors are bounded, and there is
// nothing left of them.
func TestAHostileCrowdKeepsNoProbeOut(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) { crowd(t, secure) })
	}
}

func crowd(t *testing.T, secure bool) {
	o := Options{Address: "127.0.0.1:0", Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 64<<10))
	})}
	transport, scheme := &http.Transport{DisableKeepAlives: true}, "http://"
	if secure {
		identity := httptest.NewUnstartedServer(nil)
		identity.StartTLS()
		o.TLS = identity.TLS.Clone()
		identity.Close()
		o.TLS.NextProtos = nil
		transport.TLSClientConfig, scheme = &tls.Config{InsecureSkipVerify: true}, "https://"
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	client := http.Client{Timeout: 5 * time.Minute, Transport: transport}
	probe := func(when string) {
		t.Helper()
		answer, err := client.Get(scheme + s.Addr().String() + "/live")
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", when, answer.Status)
		}
	}
	probe("before")
	hometest.Eventually(t, "the connection of the probe is gone", func() bool { return s.connections.count() == 0 })
	goroutines, open := runtime.NumGoroutine(), files()
	rounds := hometest.Rounds(t, 40) // of 12 connections each
	if testing.Short() {
		rounds = 20
	}
	var all []net.Conn
	var most uint64
	for i := range rounds {
		for kind, bytes := range hostile() {
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(kind, err)
			}
			defer c.Close()
			all = append(all, c)
			if err := c.SetWriteDeadline(time.Now().Add(5 * time.Minute)); err != nil {
				t.Fatal(err)
			}
			to := io.Writer(c)
			if secure && i%10 == 0 { // behind a handshake
				to = tls.Client(c, transport.TLSClientConfig)
			}
			_, _ = io.WriteString(to, bytes) // the server may have closed it, as it should
		}
		if i%4 == 0 {
			probe("amid the crowd")
			if n := s.connections.count(); n > maxConnections {
				t.Fatalf("%d connections", n)
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse+m.StackInuse)
		}
	}
	if most > 64<<20 {
		t.Errorf("%d bytes of memory", most)
	}
	// The test's side of each is a descriptor, too.
	hometest.Eventually(t, "goroutines and descriptors are bounded", func() bool {
		return runtime.NumGoroutine() <= goroutines+3*maxConnections && files() <= open+len(all)+maxConnections+4
	})
	probe("after the crowd")
	for _, c := range all {
		c.Close()
	}
	hometest.Eventually(t, "nothing is left", func() bool {
		return s.connections.count() == 0 && runtime.NumGoroutine() <= goroutines+4 && files() <= open+4
	})
}

// count is how many connections there are.
func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all)
}
