package cli

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// watched is the output of a command, and tells once some words are in it.
type watched struct {
	mu    sync.Mutex
	text  bytes.Buffer
	words string
	seen  chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Contains(w.text.String(), w.words)
	w.text.Write(p)
	if !before && strings.Contains(w.text.String(), w.words) {
		close(w.seen)
	}
	return len(p), nil
}

// startWaiting starts a backup that waits for misc/sublock, which the test holds.
func startWaiting(t *testing.T, interval string, wrap ...string) (c *exec.Cmd, stderr *watched, sublock vfs.Lock) {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	if sublock, err = dir.Lock("misc/sublock"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sublock.Close() })
	c = program(t, "backup", "full", "-t", "600", "-s", interval, home)
	if len(wrap) > 0 {
		c.Args = append(append(wrap, c.Path), c.Args[1:]...)
		if c.Path, err = exec.LookPath(wrap[0]); err != nil {
			t.Skip(err)
		}
	}
	stderr = &watched{words: "trying again", seen: make(chan struct{})}
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stderr.seen:
	case <-time.After(time.Minute):
		c.Process.Kill()
		c.Wait()
		t.Fatalf("it does not wait: %s", stderr.text.String())
	}
	return c, stderr, sublock
}

// TestSignalsEndACommandInOneWay sends each of the signals that ask to end.
func TestSignalsEndACommandInOneWay(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			c, stderr, _ := startWaiting(t, "600")
			if err := c.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait() // the status says it
			if got := c.ProcessState.ExitCode(); got != exitInterrupted {
				t.Errorf("status %d, want %d", got, exitInterrupted)
			}
			text := stderr.text.String()
			if !strings.Contains(text, "interrupted\nhint: no backup was made") {
				t.Errorf("says %q", text)
			}
		})
	}
}

// TestHangupIsIgnoredUnderNohup: who started it wants it to go on after the terminal is gone.
func TestHangupIsIgnoredUnderNohup(t *testing.T) {
	t.Parallel()
	c, stderr, sublock := startWaiting(t, "0.1", "sh", "-c", `trap "" HUP; exec "$0" "$@"`)
	if err := c.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := sublock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr.text.String())
	}
}

// TestInterruptedPackWaitsForNobody: somebody copies A, so a pack of the stopped storage can
// neither begin to remove nor leave A as a snapshot.
func TestInterruptedPackWaitsForNobody(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			home := filepath.Join(t.TempDir(), "home")
			want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
			dir, err := vfs.OS(home)
			if err != nil {
				t.Fatal(err)
			}
			copying, err := dir.Lock("misc/sublock")
			if err != nil {
				t.Fatal(err)
			}
			want(t, exitOK, "would remove", "pack", "--dry-run", "--keep", "0", home)
			c := program(t, "pack", "--keep", "0", home)
			stderr := &watched{words: "starting in snapshot mode", seen: make(chan struct{})}
			c.Stderr = stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = c.Wait() // the status says it
			}()
			select {
			case <-stderr.seen:
			case <-ended:
				t.Fatalf("it does not wait: %s", stderr.text.String())
			}
			if err := c.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			<-ended
			text := stderr.text.String()
			if got := c.ProcessState.ExitCode(); got != exitInterrupted {
				t.Errorf("status %d, want %d: %s", got, exitInterrupted, text)
			}
			if !strings.Contains(text, "interrupted\nhint: nothing that is needed was removed") || strings.Contains(text, "signal received") {
				t.Errorf("says %q", text)
			}
			if err := copying.Close(); err != nil {
				t.Fatal(err)
			}
			want(t, exitOK, " 0 damaged", "check", home)
			want(t, exitOK, "packed to", "pack", "--keep", "0", home)
		})
	}
}
