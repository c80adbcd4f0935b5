package cli

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// moreScriptCommands are commands of the scripts that need more than a line:
//
//	certificate NAME                write NAME.pem, a certificate for 127.0.0.1, and NAME.key
//	server VAR ARG...               serve until the script ends, and set $VAR to the address
//	signal SIGNAL N TEXT CMD...     send SIGNAL to a command that says TEXT on stderr; it must
//	                                end with status N, and its output is in the file said
func moreScriptCommands(t *testing.T) map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"certificate": func(ts *testscript.TestScript, _ bool, args []string) {
			makeCertificate(t, ts.MkAbs(args[0]+".pem"), ts.MkAbs(args[0]+".key"), "127.0.0.1")
		},
		"server": func(ts *testscript.TestScript, _ bool, args []string) {
			s := startServeIn(t, ts.MkAbs("."), args[1:]...)
			ts.Defer(s.end)
			ts.Setenv(args[0], s.await(&s.log, `listening address=(\S+)`))
		},
		"signal": func(ts *testscript.TestScript, _ bool, args []string) { signalCommand(t, ts, args) },
	}
}

// awaited collects all writes, and tells when a text was among them.
type awaited struct {
	mu      sync.Mutex
	written strings.Builder
	text    string
	seen    chan struct{}
	once    sync.Once
}

func (a *awaited) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.written.Write(p)
	if strings.Contains(a.written.String(), a.text) {
		a.once.Do(func() { close(a.seen) })
	}
	return len(p), nil
}

func signalCommand(t *testing.T, ts *testscript.TestScript, args []string) {
	signals := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	self, err := os.Executable()
	ts.Check(err)
	if args[3] != "dirstorage" {
		ts.Fatalf("%s is not the program", args[3])
	}
	c := exec.CommandContext(t.Context(), self, args[4:]...)
	c.Dir = ts.MkAbs(".")
	c.Env = append(os.Environ(), asProgram+"=1")
	said := &awaited{text: args[2], seen: make(chan struct{})}
	c.Stderr = said
	ts.Check(c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case <-said.seen:
		ts.Check(c.Process.Signal(signals[args[0]]))
		err = <-ended
	case err = <-ended:
		ts.Fatalf("it ended before it said %q: %v, %s", args[2], err, said.written.String())
	}
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d: %s", got, want, said.written.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("said"), []byte(said.written.String()), 0o600))
}
