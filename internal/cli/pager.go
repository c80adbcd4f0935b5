package cli

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// defaultPager ends by itself where everything fits on the screen, and leaves colours and the text as they
// are, as with git.
const defaultPager = "less"

// pager shows the output of a command. It starts at the first write, so that progress and errors before
// that are seen.
type pager struct {
	e       *env
	out     io.Writer // where the output goes without a pager
	command string
	process *exec.Cmd // nil: not started
	in      io.WriteCloser
	failed  bool // it could not be started
}

// startPager puts a pager before the output, if that is a terminal. end has to be called last; it waits until
// the user has left it.
func (e *env) startPager() (end func(error) error) {
	command, set := e.Getenv("PAGER"), e.Getenv("PAGER") != ""
	if !set {
		command = defaultPager
	}
	if e.Screen == nil || e.NoPager || command == "cat" || strings.TrimSpace(command) == "" {
		return func(err error) error { return err }
	}
	p := &pager{e: e, out: e.Stdout, command: command}
	e.Stdout = p
	return p.end
}

func (p *pager) Write(b []byte) (int, error) {
	if p.process == nil && !p.failed {
		p.failed = !p.start()
	}
	if p.failed {
		return p.out.Write(b)
	}
	return p.in.Write(b)
}

// start reports false if there is no such program: then the output goes to the terminal.
func (p *pager) start() bool {
	shell := exec.Command("sh", "-c", p.command)
	program := strings.Fields(p.command)[0]
	if _, err := exec.LookPath(program); err != nil && !strings.ContainsAny(program, "$'\"\\=(") {
		return false
	}
	shell.Stdout, shell.Stderr = p.out, os.Stderr
	shell.Env = os.Environ()
	for name, value := range map[string]string{"LESS": "FRX", "LV": "-c"} {
		if p.e.Getenv(name) == "" {
			shell.Env = append(shell.Env, name+"="+value)
		}
	}
	in, err := shell.StdinPipe()
	if err != nil || shell.Start() != nil {
		return false
	}
	p.process, p.in = shell, in
	return true
}

// end takes the error of the command. That of writing to a pager that was left is none.
func (p *pager) end(err error) error {
	p.e.Stdout = p.out
	if p.process == nil {
		return err
	}
	p.in.Close()
	_ = p.process.Wait() // its status tells how the user left it
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}
