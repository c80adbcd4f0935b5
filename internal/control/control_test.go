package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// fake is a storage that notes its calls.
type fake struct {
	mu    sync.Mutex
	calls []string
	block chan struct{} // if not nil, Enter waits for it or for its context
}

func (f *fake) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *fake) seen(call string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == call {
			return true
		}
	}
	return false
}

func (f *fake) EnterSnapshot(ctx context.Context, code string) error {
	f.note("enter " + code)
	if f.block != nil {
		select {
		case <-f.block:
		case <-ctx.Done():
			f.note("gave up " + code)
			return ctx.Err()
		}
	}
	return nil
}

func (f *fake) LeaveSnapshot(_ context.Context, code string) error {
	f.note("leave " + code)
	if code == "wrong" {
		return errors.New("another code")
	}
	return nil
}

func (f *fake) Flush(context.Context) error { f.note("flush"); return nil }
func (f *fake) EndSnapshot(_ context.Context, code string) error {
	f.note("end " + code)
	return nil
}

func (f *fake) AbandonSnapshot(code string) { f.note("abandon " + code) }
func (f *fake) Maintenance(ctx context.Context, op string, arguments []byte) ([]byte, error) {
	switch op {
	case "echo":
		return arguments, nil
	case "fail":
		return arguments, errors.New("as far as it went")
	case "work":
		f.note("work")
		<-ctx.Done()
		return arguments, ctx.Err()
	}
	return nil, fmt.Errorf("unknown operation %q", op)
}

func (f *fake) StatusJSON() ([]byte, error) { return json.Marshal(map[string]int{"pid": 7}) }

func serve(t *testing.T, f Storage) (home string, s *Server) {
	t.Helper()
	// Deeper than the address of a socket may be long.
	home = filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	if err := os.MkdirAll(filepath.Join(home, "misc"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = Serve(dir, f, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return home, s
}

func eventually(t *testing.T, f *fake, call string) {
	t.Helper()
	hometest.Eventually(t, call+" is called", func() bool { return f.seen(call) })
}

func TestRequestsAreAnswered(t *testing.T) {
	t.Parallel()
	f := &fake{}
	home, _ := serve(t, f)
	ctx := t.Context()
	c, err := Dial(ctx, home)
	if err == nil {
		b, merr := c.Maintain(ctx, "echo", map[string]int{"stamp": 7})
		if merr != nil || string(b) != `{"stamp":7}` {
			t.Errorf("maintain: %s, %v", b, merr)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Enter(ctx, "a", false), c.Leave(ctx, "a"), c.Flush(ctx)); err != nil {
		t.Fatal(err)
	}
	if b, err := c.Status(ctx); err != nil || string(b) != `{"pid":7}` {
		t.Errorf("status %s, %v", b, err)
	}
	var refused *RefusedError
	if err := c.Leave(ctx, "wrong"); !errors.As(err, &refused) || refused.Reason != "another code" {
		t.Errorf("leave: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"enter a", "leave a", "flush"} {
		if !f.seen(call) {
			t.Errorf("%s was not asked", call)
		}
	}
	if f.seen("abandon a") {
		t.Error("a snapshot without hold was abandoned")
	}
	info, err := os.Stat(filepath.Join(home, socketName))
	if err != nil || info.Mode().Perm()&0o022 != 0 {
		t.Errorf("the socket has mode %v, %v: others could connect", info.Mode(), err)
	}
}

func TestSnapshotOfAToolThatDiedIsAbandoned(t *testing.T) {
	t.Parallel()
	f := &fake{}
	home, _ := serve(t, f)
	ctx := t.Context()
	for code, leave := range map[string]bool{"left": true, "died": false} {
		c, err := Dial(ctx, home)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Enter(ctx, code, true); err != nil {
			t.Fatal(err)
		}
		if leave {
			if err := c.Leave(ctx, code); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
	}
	eventually(t, f, "abandon died")
	if f.seen("abandon left") {
		t.Error("one that was left was abandoned")
	}
}

func TestToolThatGoesAwayGivesUpItsRequest(t *testing.T) {
	t.Parallel()
	f := &fake{block: make(chan struct{})}
	home, _ := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Dial(ctx, home)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() { result <- c.Enter(ctx, "a", true) }()
	eventually(t, f, "enter a")
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("enter: %v", err)
	}
	eventually(t, f, "gave up a")
}

func TestOperationThatEndsEarlySaysHowFarItCame(t *testing.T) {
	t.Parallel()
	f := &fake{}
	home, s := serve(t, f)
	dial := func() *Client {
		t.Helper()
		c, err := Dial(t.Context(), home)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := dial()
	b, err := c.Maintain(t.Context(), "fail", 5)
	if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Reason != "as far as it went" || string(b) != "5" {
		t.Errorf("one that failed: %s, %v", b, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		b, err := c.Maintain(ctx, "work", 6)
		if !errors.Is(err, context.Canceled) || string(b) != "6" {
			t.Errorf("one that was stopped: %s, %v", b, err)
		}
	})
	eventually(t, f, "work")
	cancel()
	wait.Wait()
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if b, err := c.Maintain(t.Context(), "echo", 7); err == nil || b != nil {
		t.Errorf("after the end of the conversation: %s, %v", b, err)
	}
	// A storage that ends may have no time to say it.
	c, f.calls = dial(), nil
	wait.Go(func() {
		if b, err := c.Maintain(t.Context(), "work", 8); err == nil {
			t.Errorf("of a storage that ended: %s", b)
		}
	})
	eventually(t, f, "work")
	if err := errors.Join(s.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	wait.Wait()
}

func TestNonsenseIsRefused(t *testing.T) {
	t.Parallel()
	f := &fake{}
	home, _ := serve(t, f)
	c, err := Dial(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, line := range []string{"nonsense\n", "{\"op\":\"explode\"}\n", "[]\n", "\n"} {
		if _, err := c.conn.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		answer, err := c.in.ReadString('\n')
		if err != nil || !strings.Contains(answer, "error") {
			t.Errorf("%q is answered by %q, %v", line, answer, err)
		}
	}
	// An endless line ends the conversation, not the memory.
	go c.conn.Write([]byte(strings.Repeat("x", 10<<20)))
	if err := c.conn.(*net.UnixConn).SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(c.conn).ReadString('\n'); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after an endless line: %v", err)
	}
	again, err := Dial(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Flush(t.Context()); err != nil {
		t.Errorf("another conversation: %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if _, err := Dial(t.Context(), home); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no directory: %v", err)
	}
	f := &fake{}
	home, s := serve(t, f)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), home); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a socket without a server: %v", err)
	}
}

// TestOnlyASocketIsRemoved: another file of its name stays, and the error says so.
func TestOnlyASocketIsRemoved(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	name := filepath.Join(home, socketName)
	if err := os.Mkdir(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(f, &fake{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a file at the place of the socket: %v", err)
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "data" {
		t.Errorf("the file is %q, %v", b, err)
	}
}
