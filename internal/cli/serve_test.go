package cli

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// serverProcess is a dirstorage serve in a process of its own.
type serverProcess struct {
	t   *testing.T
	cmd *exec.Cmd

	mu       sync.Mutex
	out, log bytes.Buffer // guarded by mu
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func startServe(t *testing.T, args ...string) *serverProcess {
	t.Helper()
	s := &serverProcess{t: t, cmd: program(t, append([]string{"serve"}, args...)...)}
	s.start()
	return s
}

// startServeIn is startServe in a directory.
func startServeIn(t *testing.T, dir string, args ...string) *serverProcess {
	t.Helper()
	s := &serverProcess{t: t, cmd: program(t, append([]string{"serve"}, args...)...)}
	s.cmd.Dir = dir
	s.start()
	return s
}

func (s *serverProcess) start() {
	s.t.Helper()
	s.cmd.Stdout, s.cmd.Stderr = lockedWriter{&s.mu, &s.out}, lockedWriter{&s.mu, &s.log}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.cmd.Process.Kill()
			s.cmd.Wait()
		}
	})
}

// await waits for a line and returns the match of the group in the pattern.
func (s *serverProcess) await(buffer *bytes.Buffer, pattern string) string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	for range 30_000 {
		s.mu.Lock()
		m := re.FindStringSubmatch(buffer.String())
		s.mu.Unlock()
		if m != nil {
			return m[len(m)-1]
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Fatalf("%q does not come; stdout %s\nlog %s", pattern, s.out.String(), s.log.String())
	return ""
}

// end sends SIGTERM and expects a clean end.
func (s *serverProcess) end() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		s.t.Fatalf("ended by %v\n%s", err, s.log.String())
	}
}

// anyRecord is a data record that refers to nothing.
var anyRecord = []byte("cpersistent.mapping\nPersistentMapping\n.}.")

func commitOne(t *testing.T, o zeoclient.Options, serial zodb.TID) zodb.TID {
	t.Helper()
	c, err := zeoclient.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
	if err == nil {
		err = txn.Store(0, serial, anyRecord)
	}
	if err == nil {
		_, _, err = txn.Vote(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	tid, err := txn.Finish(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tid
}

func TestServeMakesServesAndEndsCleanly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, socket := filepath.Join(dir, "var"), filepath.Join(dir, "zeo.sock")
	pid := filepath.Join(dir, "pid")
	s := startServe(t, "--listen", "127.0.0.1:0", "--listen", socket, "--http-listen", "127.0.0.1:0", "--pid-file", pid, home)
	address := s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)\n`)
	for _, want := range []string{"made " + home, "serving storage 1 of " + home + " on " + address, "and on " + socket} {
		s.await(&s.out, regexp.QuoteMeta(want))
	}
	if b, err := os.ReadFile(pid); err != nil || strings.TrimSpace(string(b)) == "" {
		t.Errorf("pid file: %q, %v", b, err)
	}
	first := commitOne(t, zeoclient.Options{Address: address}, 0)
	second := commitOne(t, zeoclient.Options{Network: "unix", Address: socket}, first)

	web := s.await(&s.log, `listening for probes and metrics address=(127\.0\.0\.1:\d+)`)
	for path, want := range map[string]string{"/live": "", "/ready": "", "/metrics": `dirstorage_commit_seconds_count{storage="1"} 2`} {
		for tries := 0; ; tries++ { // a commit is counted a moment after it was answered
			r, err := http.Get("http://" + web + path)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err == nil && r.StatusCode == http.StatusOK && strings.Contains(string(b), want) {
				break
			}
			if tries == 100 {
				t.Errorf("%s: %s, %v\n%.3000s", path, r.Status, err, b)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	// Two at once on one HOME.
	again := startServe(t, "--listen", "127.0.0.1:0", home)
	if err := again.cmd.Wait(); again.cmd.ProcessState.ExitCode() != exitLocked {
		t.Errorf("a second server on the same HOME: %v\n%s", err, again.log.String())
	}
	s.end()
	if _, err := os.Stat(pid); err == nil {
		t.Error("the pid file is still there")
	}
	if code, err := os.ReadFile(filepath.Join(home, "misc", "snapshot")); err != nil || string(code) != "shutdown" {
		t.Errorf("HOME was not closed cleanly: %q, %v", code, err)
	}
	// Once more: the committed object is there.
	s = startServe(t, "--listen", "127.0.0.1:0", home)
	c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)\n`)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.LastTID() != second {
		t.Errorf("last transaction %s, want %s", c.LastTID(), second)
	}
	c.Close()
	s.end()
}

func TestServeDrainsAFinishAndCutsOffTheRest(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "var")
	s := startServe(t, "--listen", "127.0.0.1:0", "--drain-timeout", "20s", home)
	address := s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)\n`)
	ctx := t.Context()
	idle, err := zeoclient.Dial(ctx, zeoclient.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	txn := voted(t, address)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-idle.Done():
	case <-time.After(5 * time.Minute):
		t.Fatal("the idle connection stays open")
	}
	if _, err := txn.Finish(ctx, nil); err != nil {
		t.Errorf("a voted transaction could not be finished while the server drained: %v", err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("ended by %v\n%s", err, s.log.String())
	}
}

// voted returns a transaction that holds its locks.
func voted(t *testing.T, address string) *zeoclient.Txn {
	t.Helper()
	c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
	if err == nil {
		err = txn.Store(0, 0, anyRecord)
	}
	if err == nil {
		_, _, err = txn.Vote(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return txn
}

// TestSecondInterruptEndsAtOnce: the first one waits for a clean end.
func TestSecondInterruptEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := startServe(t, "--listen", "127.0.0.1:0", "--drain-timeout", "1h", filepath.Join(t.TempDir(), "var"))
	voted(t, s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)\n`))
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	s.await(&s.log, "stopping (connections=1)")
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	again := time.NewTicker(50 * time.Millisecond) // it may not have come so far at the first
	defer again.Stop()
	for {
		select {
		case err := <-ended:
			if !killed(err) {
				t.Errorf("ended by %v\n%s", err, s.log.String())
			}
			return
		case <-again.C:
			s.cmd.Process.Signal(os.Interrupt)
		}
	}
}

// TestServeWaitsForAHomeThatIsOpenElsewhere: for as long as it may, or until it is told to end.
func TestServeWaitsForAHomeThatIsOpenElsewhere(t *testing.T) {
	t.Parallel()
	const waits = "waiting until another process closes the storage"
	home := filepath.Join(t.TempDir(), "var")
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	other, err := engine.Open(t.Context(), home, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	start := func(wait string) *serverProcess {
		return startServe(t, "--listen", "127.0.0.1:0", "--lock-wait", wait, home)
	}
	for wait, says := range map[string]bool{"0": false, "10ms": true} {
		s := start(wait)
		if err := s.cmd.Wait(); s.cmd.ProcessState.ExitCode() != exitLocked {
			t.Errorf("after %s: %v\n%s", wait, err, s.log.String())
		}
		if got := strings.Contains(s.log.String(), waits); got != says {
			t.Errorf("with %s it says that it waits: %t", wait, got)
		}
	}
	ended, served := start("1h"), start("1h")
	ended.await(&ended.log, waits)
	served.await(&served.log, waits)
	if err := ended.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := ended.cmd.Wait(); ended.cmd.ProcessState.ExitCode() != exitInterrupted {
		t.Errorf("told to end while it waits: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	commitOne(t, zeoclient.Options{Address: served.await(&served.out, `zeo://(127\.0\.0\.1:\d+)\n`)}, 0)
	served.end()
}

func TestServeReloadsTheLogLevel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := filepath.Join(dir, "d.toml")
	write := func(level string) {
		if err := os.WriteFile(conf, []byte("log-level = \""+level+"\"\nlisten = [\"127.0.0.1:0\"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("info")
	s := startServe(t, "--config", conf, filepath.Join(dir, "var"))
	s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)\n`)
	write("nonsense")
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.await(&s.log, "reload failed")
	write("debug")
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.await(&s.log, "reloaded level=debug")
	s.end()
}

// somewhere is a listener that says it is at an address, and listens to nothing.
type somewhere struct {
	net.Listener
	at net.Addr
}

func (l somewhere) Addr() net.Addr { return l.at }

func TestServeWarnsOfAnOpenAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		at   net.Addr
		tls  bool
		want bool
	}{
		{"all interfaces", &net.TCPAddr{IP: net.IPv4zero, Port: 8100}, false, true},
		{"another host's network", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8100}, false, true},
		{"with TLS", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8100}, true, false},
		{"loopback", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8100}, false, false},
		{"a socket", &net.UnixAddr{Name: "/run/zeo.sock", Net: "unix"}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			s := &serving{log: slog.New(slog.NewTextHandler(&log, nil))}
			if tc.tls {
				s.certs = &certs.Server{}
			}
			s.warnOpen(somewhere{at: tc.at})
			if got := strings.Contains(log.String(), "without TLS"); got != tc.want {
				t.Errorf("warned: %v, want %v\n%s", got, tc.want, log.String())
			}
		})
	}
}

func TestServeSeveralStorages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServe(t, "--listen", "127.0.0.1:0", "--storage", "a="+filepath.Join(dir, "a"), "--storage", "b="+filepath.Join(dir, "b"))
	address := s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)\?storage=a`)
	tid := commitOne(t, zeoclient.Options{Address: address, Storage: "b"}, 0)
	for name, want := range map[string]zodb.TID{"a": 0, "b": tid} {
		c, err := zeoclient.Dial(context.Background(), zeoclient.Options{Address: address, Storage: name})
		if err != nil {
			t.Fatal(err)
		}
		if c.LastTID() != want {
			t.Errorf("storage %s: last transaction %s, want %s", name, c.LastTID(), want)
		}
		c.Close()
	}
	s.end()
}

// TestServeReadOnlyAddsNothing: a storage that was brought back can be looked at, and then be
// continued, or served for writing, which begins its history.
func TestServeReadOnlyAddsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, copied, list := hometest.FileStorage(t, "undo.fs"), filepath.Join(dir, "home"), filepath.Join(dir, "serve.toml")
	want(t, 0, "imported 14 transactions", "import", source, copied)
	if err := os.WriteFile(list, []byte("[[storage]]\nname = \"1\"\nhome = \""+copied+"\"\nread-only = true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--read-only", copied}, {"--config", list}} {
		s := startServe(t, append([]string{"--listen", "127.0.0.1:0"}, args...)...)
		s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)`)
		s.end()
		want(t, 0, "imported 0 transactions", "import", source, copied)
	}
	s := startServe(t, "--listen", "127.0.0.1:0", copied)
	s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)`)
	s.end()
	want(t, 1, "history of its own", "import", source, copied)
}
