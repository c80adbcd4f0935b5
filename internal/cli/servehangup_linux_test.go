package cli

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// serveOnTerminal starts a server that leads the session of a terminal, as a shell there would start it. wrap
// comes before its command line.
func serveOnTerminal(t *testing.T, home string, wrap ...string) (s *serverProcess, master *os.File) {
	t.Helper()
	master, terminal := openTerminal(t, 80)
	s = &serverProcess{t: t, cmd: program(t, "serve", "--listen", "127.0.0.1:0", home)}
	if len(wrap) > 0 {
		s.cmd.Args = append(append(wrap, s.cmd.Path), s.cmd.Args[1:]...)
		s.cmd.Path = wrap[0]
	}
	s.cmd.Stdin = terminal
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s.start()
	terminal.Close()
	s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)`)
	return s, master
}

// TestServeEndsWithItsTerminal: a server that somebody tries in a window does not hold HOME and address after the
// window was closed. While the window is there, SIGHUP reloads.
func TestServeEndsWithItsTerminal(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	s, master := serveOnTerminal(t, home)
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.await(&s.log, "reloaded level=(info)")
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	hometest.Eventually(t, "it ends", func() bool {
		select {
		case err = <-ended:
			return true
		default:
			return false
		}
	})
	if err != nil {
		t.Errorf("it ended with %v, want status 0: %s", err, &s.log)
	}
	s.await(&s.log, "(the terminal is gone)")
	want(t, exitOK, "nobody has it open, and it was closed cleanly", "snapshot", "status", home)
}

// TestServeGoesOnUnderNohup: its user wants it to. It still reloads.
func TestServeGoesOnUnderNohup(t *testing.T) {
	t.Parallel()
	s, master := serveOnTerminal(t, filepath.Join(t.TempDir(), "home"), "/bin/sh", "-c", `trap "" HUP; exec "$0" "$@"`)
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.await(&s.log, "reloaded level=(info)")
	s.end()
}

// TestServeThatWasLeftByItsShellReloads: its terminal has been gone for a while, without a SIGHUP (disown). A SIGHUP
// that comes now was sent on purpose.
func TestServeThatWasLeftByItsShellReloads(t *testing.T) {
	t.Parallel()
	there := true
	w := watchTerminal(func() bool { return there })
	if w.hungUp() {
		t.Error("the terminal is there")
	}
	there = false
	if !w.hungUp() {
		t.Error("the terminal is gone, and SIGHUP comes at once")
	}
	for range hangupLooks {
		w.look()
	}
	if !w.hungUp() {
		t.Error("SIGHUP comes a moment after the terminal went")
	}
	w.look()
	if w.hungUp() {
		t.Error("SIGHUP comes long after the terminal went")
	}
	if none := watchTerminal(func() bool { return false }); none.hungUp() {
		t.Error("there never was a terminal")
	}
	if none := watchTerminal(nil); none.hungUp() {
		t.Error("it is under nohup")
	}
}
