package ops_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/ops"
	"github.com/dirstorage/dirstorage/zodb"
)

// listen returns a server and a function that asks it.
func listen(t testing.TB, o ops.Options) (s *ops.Server, get func(path string) (int, string)) {
	t.Helper()
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	s, err := ops.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(func() {
		if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return s, func(path string) (int, string) {
		t.Helper()
		r, err := client.Get("http://" + s.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
}

func TestReadyOnlyWhileServing(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var reasons []ops.Reason
	s, get := listen(t, ops.Options{Ready: func() []ops.Reason {
		mu.Lock()
		defer mu.Unlock()
		return reasons
	}})
	step := func(name string, code int, body string) {
		t.Helper()
		if gotCode, got := get("/ready"); gotCode != code || got != body+"\n" {
			t.Errorf("%s: %d %s", name, gotCode, got)
		}
	}
	set := func(r ...ops.Reason) {
		mu.Lock()
		defer mu.Unlock()
		reasons = r
	}
	step("before", 503, `{"ready":false,"reasons":[{"code":"starting"}]}`)
	s.Serving()
	step("serving", 200, `{"ready":true,"reasons":[]}`)
	set(ops.NotReady("main", zodb.Status{ReadOnly: true, Failure: "fsync: input/output error"})...)
	step("failed", 503, `{"ready":false,"reasons":[{"code":"failed","storage":"main","detail":"fsync: input/output error"}]}`)
	set(ops.NotReady("main", zodb.Status{Trouble: "no space left on device", TroubleKind: zodb.TroubleDisk})...)
	step("disk full", 503, `{"ready":false,"reasons":[{"code":"disk_full","storage":"main","detail":"no space left on device"}]}`)
	set(ops.NotReady("main", zodb.Status{Trouble: "too many open files", TroubleKind: zodb.TroubleScarce})...)
	step("no descriptors", 503, `{"ready":false,"reasons":[{"code":"scarce","storage":"main","detail":"too many open files"}]}`)
	set(ops.NotReady("main", zodb.Status{LowSpace: "1 B of 2 B are free"})...)
	step("low space", 200, `{"ready":true,"reasons":[],"warnings":[{"code":"low_space","storage":"main","detail":"1 B of 2 B are free"}]}`)
	set(ops.NotReady("main", zodb.Status{CommitSeconds: 12.3})...)
	step("hanging disk", 503, `{"ready":false,"reasons":[{"code":"stuck","storage":"main","detail":"a commit has been waiting for the disk for 12 seconds"}]}`)
	set(ops.NotReady("main", zodb.Status{CommitSeconds: 2})...)
	step("slow disk", 200, `{"ready":true,"reasons":[]}`)
	long := zodb.SnapshotStatus{Code: "nightly", Since: time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC), Long: true, Newer: 7}
	set(ops.NotReady("main", zodb.Status{Snapshot: "user/nightly", SnapshotMode: &long})...)
	step("forgotten snapshot", 200, `{"ready":true,"reasons":[],"warnings":[{"code":"snapshot_long","storage":"main",`+
		`"detail":"in snapshot mode (user/nightly) since 2026-03-01 02:00:00 UTC, and 7 transactions were committed since; no pack removes anything meanwhile"}]}`)
	set(ops.NotReady("main", zodb.Status{ReadOnly: true})...)
	step("read-only on purpose", 200, `{"ready":true,"reasons":[]}`)
	set(ops.Reason{Code: ops.Starting, Storage: "two"})
	step("one storage is not open", 503, `{"ready":false,"reasons":[{"code":"starting","storage":"two"}]}`)
	s.Draining()
	step("draining", 503, `{"ready":false,"reasons":[{"code":"draining"}]}`)
	if code, _ := get("/live"); code != 200 {
		t.Errorf("a server that is about to stop is not alive: %d", code)
	}
}

func TestStorageThatDoesNotAnswerIsNotReady(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	s, get := listen(t, ops.Options{Ready: func() []ops.Reason { <-hang; return nil }, ReadyTimeout: 20 * time.Millisecond})
	s.Serving()
	if code, body := get("/ready"); code != 503 || !strings.Contains(body, `"code":"stuck"`) {
		t.Errorf("%d %s", code, body)
	}
	close(hang)
	for deadline := time.Now().Add(5 * time.Minute); ; {
		if code, body := get("/ready"); code == 200 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("after it came back: %d %s", code, body)
		}
	}
}

func TestLiveFailsOnlyIfTheCheckDoes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		code int
		body string
	}{
		{"alive", nil, 200, "ok\n"},
		{"stuck", errors.New("storage main: committer: no answer in 10s"), 503, "storage main: committer: no answer in 10s\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, get := listen(t, ops.Options{
				Live:  func(context.Context) error { return tc.err },
				Ready: func() []ops.Reason { return []ops.Reason{{Code: ops.Failed}} },
			})
			if code, body := get("/live"); code != tc.code || body != tc.body {
				t.Errorf("%d %q", code, body)
			}
		})
	}
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	s, get := listen(t, ops.Options{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "numbers") })})
	s.Serving()
	got := make(map[string]int)
	for _, path := range []string{"/", "/live", "/ready", "/metrics", "/debug/pprof/", "/live/", "/x"} {
		got[path], _ = get(path)
	}
	if diff := cmp.Diff(map[string]int{"/": 200, "/live": 200, "/ready": 200, "/metrics": 200, "/debug/pprof/": 404, "/live/": 404, "/x": 404}, got); diff != "" {
		t.Error(diff)
	}
	if _, body := get("/"); !strings.Contains(body, "/ready") || strings.Contains(body, "<") {
		t.Errorf("the index is %q", body)
	}
	if _, body := get("/metrics"); body != "numbers\n" {
		t.Errorf("the metrics are %q", body)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		q, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr().String()+"/live", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, r.StatusCode)
		}
	}
}

func TestNoMetricsNoPage(t *testing.T) {
	t.Parallel()
	_, get := listen(t, ops.Options{})
	if code, _ := get("/metrics"); code != 404 {
		t.Errorf("%d", code)
	}
}

func TestLargeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	s, _ := listen(t, ops.Options{})
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go fmt.Fprintf(c, "GET /live HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n", strings.Repeat("x", 1<<16)) // it may be cut off
	b := make([]byte, 64)
	n, err := io.ReadAtLeast(c, b, 12)
	if err != nil || !bytes.HasPrefix(b[:n], []byte("HTTP/1.1 431")) {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestLoopbackIsNothingToWarnOf(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		var log lines
		s, _ := listen(t, ops.Options{Address: address, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if strings.Contains(log.String(), "level=WARN") {
			t.Errorf("at %s warned:\n%s", s.Addr(), &log)
		}
	}
}

func TestReachableAddresses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		at   net.Addr
		want bool
	}{
		{&net.TCPAddr{IP: net.IPv4zero}, true}, {&net.TCPAddr{IP: net.IPv6unspecified}, true}, {&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, true},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, false}, {&net.TCPAddr{IP: net.IPv6loopback}, false}, {&net.UnixAddr{Name: "/run/a"}, false},
	} {
		if got := ops.Reachable(tc.at); got != tc.want {
			t.Errorf("%v: %v", tc.at, got)
		}
	}
}

func TestAddressThatIsTakenIsAnError(t *testing.T) {
	t.Parallel()
	s, _ := listen(t, ops.Options{})
	if second, err := ops.Listen(ops.Options{Address: s.Addr().String()}); err == nil {
		t.Error("listens at an address that is taken")
		_ = second.Shutdown(t.Context())
	}
}

func TestShutdownWaitsForAnswersAndThenBreaksThemOff(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	s, err := ops.Listen(ops.Options{Address: "127.0.0.1:0", Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	})})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		r, err := http.Get("http://" + s.Addr().String() + "/metrics")
		if err == nil {
			r.Body.Close()
		}
		ended <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with an answer under way: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the answer was not broken off")
	}
	close(leave)
	if c, err := net.Dial("tcp", s.Addr().String()); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}
