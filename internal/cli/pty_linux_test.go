package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// openTerminal makes a terminal of some columns: the output of a program can be read
// from master.
func openTerminal(t *testing.T, columns uint16) (master, terminal *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skip("no terminals here: ", err)
	}
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return master, terminal
}

// onTerminal runs a command with Stderr on a terminal, and returns its output there.
func onTerminal(t *testing.T, columns uint16, args ...string) string {
	t.Helper()
	master, terminal := openTerminal(t, columns)
	c := program(t, args...)
	c.Env = append(c.Env, "TERM=xterm", everyUpdate+"=1")
	c.Stderr = terminal
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	var written bytes.Buffer
	_, _ = written.ReadFrom(master) // it ends with EIO when nobody has the terminal any more
	if err := c.Wait(); err != nil {
		t.Fatalf("%v: %s", err, written.String())
	}
	return written.String()
}

// TestProgressOnANarrowTerminal looks at each line of progress on a terminal of 40 columns.
func TestProgressOnANarrowTerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, repo := filepath.Join(dir, "home"), filepath.Join(dir, "repo")
	for _, call := range []struct {
		args []string
		last string // the text shown at the end
	}{
		{[]string{"import", "--format", "chunky", hometest.FileStorage(t, "undo.fs"), home}, "moving to A, "},
		{[]string{"backup", "full", home, repo}, "files, "},
		{[]string{"backup", "verify", "--data", repo}, "files, "},
		{[]string{"backup", "verify", "--restore", repo}, "checking, "},
		{[]string{"restore", repo, filepath.Join(dir, "new")}, "checking, "},
		{[]string{"export", "--no-blobs", home, filepath.Join(dir, "out.fs")}, "transactions, "},
		{[]string{"refs", "--write-index", home}, ""},
		{[]string{"check", home}, "files, "},
	} {
		args := call.args
		text := onTerminal(t, 40, args...)
		if !strings.Contains(text, call.last) {
			t.Errorf("%v does not show %q: %q", args, call.last, text)
		}
		shown := 0
		for part := range strings.SplitSeq(text, "\r") {
			if line, ok := strings.CutSuffix(part, eraseToEnd); ok {
				if len(line) > 39 {
					t.Errorf("%v: %d characters in a line of 40: %q", args, len(line), line)
				}
				if line != "" {
					shown++
				}
			} else if strings.TrimSpace(part) != "" && !strings.HasPrefix(part, eraseToEnd+"warning: ") { // of the file system
				t.Errorf("%v: not progress: %q", args, part)
			}
		}
		if shown == 0 {
			t.Errorf("%v shows no progress: %q", args, text)
		}
		if !strings.HasSuffix(text, "\r"+eraseToEnd) {
			t.Errorf("%v leaves a line: %q", args, text)
		}
	}
}

// TestNoProgressWhereNobodyReadsIt runs a command with Stderr in a file, and on a
// terminal that cannot erase.
func TestNoProgressWhereNobodyReadsIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := program(t, "import", hometest.FileStorage(t, "undo.fs"), filepath.Join(dir, "home"))
	c.Env = append(c.Env, "TERM=xterm", everyUpdate+"=1")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Run(); err != nil || strings.ContainsAny(stderr.String(), "\r\x1b") || strings.Contains(stderr.String(), "records") {
		t.Errorf("%v, and on stderr %q", err, stderr.String())
	}
	master, terminal := openTerminal(t, 80)
	c = exec.CommandContext(t.Context(), c.Path, "import", hometest.FileStorage(t, "undo.fs"), filepath.Join(dir, "dumb"))
	c.Env = append(os.Environ(), asProgram+"=1", everyUpdate+"=1", "TERM=dumb")
	c.Stderr = terminal
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	var written bytes.Buffer
	_, _ = written.ReadFrom(master)
	if err := c.Wait(); err != nil || strings.Contains(written.String(), "\x1b") || strings.Contains(written.String(), "records") {
		t.Errorf("%v, and on a dumb terminal %q", err, written.String())
	}
}
