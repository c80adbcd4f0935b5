package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// display is a terminal that a test looks at.
type display struct {
	t        *testing.T
	master   *os.File
	terminal *os.File
	cmd      *exec.Cmd
	before   unix.Termios  // the settings of the terminal before the program began
	read     chan struct{} // closed when nobody writes any more

	mu      sync.Mutex
	written bytes.Buffer // guarded by mu
}

// display starts a program on a terminal of some columns, which is its input and output.
func newDisplay(t *testing.T, columns uint16, env []string, args ...string) *display {
	t.Helper()
	d := &display{t: t, cmd: program(t, args...), read: make(chan struct{})}
	d.master, d.terminal = openTerminal(t, columns)
	d.cmd.Stdin, d.cmd.Stdout, d.cmd.Stderr = d.terminal, d.terminal, d.terminal
	d.cmd.Env = append(append(d.cmd.Env, "TERM=xterm"), env...)
	d.before = d.settings()
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.read)
		b := make([]byte, 4096)
		for {
			n, err := d.master.Read(b)
			d.mu.Lock()
			d.written.Write(b[:n])
			d.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { d.terminal.Close() })
	return d
}

// all is everything that was written.
func (d *display) all() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written.String()
}

// lines is the screen after all complete frames.
func (d *display) lines() (lines []string) {
	text := d.all()
	text = text[:max(strings.LastIndex(text, endFrame), 0)]
	text = text[max(strings.LastIndex(text, "\x1b[H"+eraseBelow), 0):]
	at := 0
	for part := range strings.SplitSeq(text, "\x1b[") {
		m := regexp.MustCompile(`^(\??[0-9;]*)([A-Za-z])([^\x00]*)$`).FindStringSubmatch(part)
		if m == nil {
			continue
		}
		switch {
		case m[2] == "H":
			row, _, _ := strings.Cut(m[1], ";")
			n, _ := strconv.Atoi(row)
			at = max(n, 1) - 1
			for len(lines) <= at {
				lines = append(lines, "")
			}
			lines[at] = ""
		case m[2] == "J":
			lines = lines[:at]
		}
		if m[3] != "" && at < len(lines) {
			lines[at] += m[3]
		}
	}
	return lines
}

// await waits until the screen has something, and no line is as wide as the terminal.
func (d *display) await(columns int, pattern string) string {
	d.t.Helper()
	re := regexp.MustCompile(pattern)
	var screen string
	defer func() {
		if d.t.Failed() {
			d.t.Logf("%d columns:\n%s", columns, screen)
		}
	}()
	hometest.Eventually(d.t, fmt.Sprintf("%q is on the screen of %d columns", pattern, columns), func() bool {
		lines := d.lines()
		screen = strings.Join(lines, "\n")
		for _, line := range lines {
			if columnsOf(line) >= columns {
				return false
			}
		}
		return re.MatchString(screen)
	})
	return screen
}

// resize gives the terminal another size, and waits until the program draws anew.
func (d *display) resize(columns, rows uint16) {
	d.t.Helper()
	before := strings.Count(d.all(), eraseBelow)
	defer hometest.Eventually(d.t, "it draws anew", func() bool { return strings.Count(d.all(), eraseBelow) > before })
	if err := unix.IoctlSetWinsize(int(d.terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *display) press(keys string) {
	d.t.Helper()
	if _, err := d.master.WriteString(keys); err != nil {
		d.t.Fatal(err)
	}
}

// end waits for the end of the program.
func (d *display) end() string {
	d.t.Helper()
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("it ended with %v: %q", err, d.all())
	}
	d.terminal.Close()
	<-d.read
	return d.all()
}

func (d *display) settings() unix.Termios {
	d.t.Helper()
	s, err := unix.IoctlGetTermios(int(d.terminal.Fd()), unix.TCGETS)
	if err != nil {
		d.t.Fatal(err)
	}
	return *s
}

// servedHome is a HOME that a server of its own serves, with a transaction.
func servedHome(t *testing.T) (home, address string) {
	t.Helper()
	home = filepath.Join(t.TempDir(), "home")
	s := startServe(t, "--listen", "127.0.0.1:0", home)
	address = s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)\n`)
	commitOne(t, zeoclient.Options{Address: address}, 0)
	return home, address
}

// TestWatchOnATerminal looks at status and top on terminals of each width, which change their size
// meanwhile: the page fits, is drawn in place and only where it changes, and any way to end leaves the
// terminal as it was.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	home, address := servedHome(t)
	client, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"status": {[]string{"status", "--watch", "--interval", "100ms", home}, `(?s)^problems: +none\n.*running,.* pid`},
		"top":    {[]string{"top", "--interval", "100ms", home}, `(?s)clients: 1, waiting: 0;.*CLIENT +LOADS/s.*\n127\.0\.0\.1:\d+ `},
	} {
		for i, columns := range []int{40, 57, 80, 300} {
			t.Run(fmt.Sprint(name, " ", columns), func(t *testing.T) {
				t.Parallel()
				d := newDisplay(t, uint16(columns), nil, tc.args...)
				d.await(columns, tc.want)
				d.resize(45, 20)
				d.await(45, tc.want)
				d.resize(uint16(columns), 50)
				d.await(columns, tc.want)
				switch i {
				case 0:
					d.press("q")
				case 1:
					d.press("\x03")
				case 2:
					d.press("x\x03")
				default:
					if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
						t.Fatal(err)
					}
				}
				hometest.Eventually(t, "it leaves the screen", func() bool { return strings.HasSuffix(d.all(), leaveScreen) })
				if err := d.cmd.Wait(); err != nil {
					t.Errorf("it ended with %v", err)
				}
				if after := d.settings(); after != d.before {
					t.Errorf("the settings of the terminal are %+v, and were %+v", after, d.before)
				}
				text := d.all()
				if !strings.HasPrefix(text, enterScreen) || strings.Count(text, eraseBelow) != 3 {
					t.Errorf("the screen was erased %d times, want 3: at the begin, and at each new size", strings.Count(text, eraseBelow))
				}
				if strings.Count(text, beginFrame) != strings.Count(text, endFrame) || strings.Contains(text, "\n") {
					t.Errorf("%d frames begin, and %d end", strings.Count(text, beginFrame), strings.Count(text, endFrame))
				}
			})
		}
	}
}

// TestWatchGoesOnWithoutTheServer: it ends, and comes again.
func TestWatchGoesOnWithoutTheServer(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	s := startServe(t, "--listen", "127.0.0.1:0", home)
	s.await(&s.out, `(zeo)://127\.0\.0\.1:\d+\n`)
	d := newDisplay(t, 80, nil, "top", "--interval", "100ms", home)
	d.await(80, `clients: 0,`)
	s.end()
	d.await(80, `(?s)no\s+storage\s+is\s+running\s+there.*clients: 0,`)
	again := startServe(t, "--listen", "127.0.0.1:0", home)
	again.await(&again.out, `(zeo)://127\.0\.0\.1:\d+\n`)
	d.await(80, `^storage 1, clients: 0,`)
	d.press("q")
	d.end()
}

// TestTopSortsByKeys presses the keys.
func TestTopSortsByKeys(t *testing.T) {
	t.Parallel()
	home, _ := servedHome(t)
	d := newDisplay(t, 120, nil, "top", "--interval", "100ms", home)
	d.await(120, `by loads; s S: sort`)
	d.press("s")
	d.await(120, `by commits;`)
	d.press("SS")
	d.await(120, `by age;`)
	d.press("r")
	d.await(120, `by age, reversed;`)
	d.press("q")
	d.end()
}

// TestWatchWithoutATerminal prints blocks, one below the other, without a sequence of terminals.
func TestWatchWithoutATerminal(t *testing.T) {
	t.Parallel()
	home, _ := servedHome(t)
	for _, args := range [][]string{
		{"status", "--watch", "--interval", "100ms", home}, {"top", "--interval", "100ms", home},
		{"status", "--watch", "--interval", "100ms", "--json", home}, {"top", "--interval", "100ms", "--json", home},
	} {
		c := program(t, args...)
		var mu sync.Mutex
		var out, stderr bytes.Buffer
		c.Stdout, c.Stderr = lockedWriter{&mu, &out}, &stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		blocks := func() int {
			mu.Lock()
			defer mu.Unlock()
			if args[len(args)-2] == "--json" {
				return strings.Count(out.String(), "\n")
			}
			return strings.Count(out.String(), "\n\n")
		}
		hometest.Eventually(t, "there are blocks", func() bool { return blocks() >= 2 })
		if err := c.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err != nil || stderr.Len() > 0 {
			t.Errorf("%v: %v, %s", args, err, &stderr)
		}
		if strings.ContainsAny(out.String(), "\x1b\r") {
			t.Errorf("%v: %q", args, &out)
		}
		for line := range strings.Lines(out.String()) {
			if args[len(args)-2] == "--json" && !json.Valid([]byte(line)) {
				t.Errorf("%v: %s", args, line)
			}
		}
	}
}

// TestTopShowsTheWaitForALock: two clients want the same object; status and top name it, and the holder.
func TestTopShowsTheWaitForALock(t *testing.T) {
	t.Parallel()
	home, address := servedHome(t)
	vote := func(c *zeoclient.Client) error {
		txn, err := c.Begin(zodb.TxnMeta{User: []byte("admin"), Description: []byte("/edit")}, zeoclient.BeginOptions{})
		if err == nil {
			err = txn.Store(0x1a, 0, anyRecord)
		}
		if err == nil {
			_, _, err = txn.Vote(t.Context())
		}
		return err
	}
	var clients []*zeoclient.Client
	for range 2 {
		c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	if err := vote(clients[0]); err != nil {
		t.Fatal(err)
	}
	go vote(clients[1])
	var top topReport
	hometest.Eventually(t, "one waits", func() bool {
		out, err := program(t, "top", "--once", "--interval", "100ms", "--json", home).Output()
		return err == nil && json.Unmarshal(out, &top) == nil && len(top.Waits) == 1
	})
	w := top.Waits[0]
	by := make(map[uint64]topClient)
	for _, c := range top.Clients {
		by[c.Client] = c
	}
	if x := by[w.Client].Transaction; w.OID != 0x1a || !w.Held || x == nil || x.State != "voting" || x.User != "admin" || x.Description != "/edit" {
		t.Errorf("%+v, of %+v", w, top.Clients)
	}
	holder := by[w.Holder]
	if holder.Transaction == nil || holder.Transaction.State != "voted" {
		t.Errorf("the holder: %+v", holder)
	}
	out, err := program(t, "top", "--once", "--interval", "100ms", "--sort", "waits", home).Output()
	if want := regexp.MustCompile(`(?m)^127\.0\.0\.1:\d+ .* voting [0-9a-z .]+ +0x1a of 127\.0\.0\.1`); err != nil || !want.Match(out) {
		t.Errorf("%v, top prints\n%s", err, out)
	}
	out, err = program(t, "status", home).Output()
	if want := regexp.MustCompile(`and waits for the lock of object 000000000000001A, which ` + regexp.QuoteMeta(holder.Address) + ` has\n`); err != nil || !want.Match(out) {
		t.Errorf("%v, status prints\n%s", err, out)
	}
}

// TestWatchEndsQuietlyWithItsTerminal: the terminal of status --watch or top goes away, with and
// without keys, and with the signal that the shell sends.
func TestWatchEndsQuietlyWithItsTerminal(t *testing.T) {
	t.Parallel()
	home, _ := servedHome(t)
	for name, end := range map[string]func(c *exec.Cmd, master *os.File) error{
		"gone":   func(_ *exec.Cmd, master *os.File) error { return master.Close() },
		"SIGHUP": func(c *exec.Cmd, _ *os.File) error { return c.Process.Signal(syscall.SIGHUP) },
	} {
		for _, keys := range []bool{true, false} {
			for _, args := range [][]string{{"status", "--watch", "--interval", "100ms", home}, {"top", "--interval", "100ms", home}} {
				t.Run(fmt.Sprintf("%s %s %t", args[0], name, keys), func(t *testing.T) {
					t.Parallel()
					master, terminal := openTerminal(t, 80)
					c := program(t, args...)
					c.Env = append(c.Env, "TERM=xterm")
					var stderr bytes.Buffer
					c.Stdout, c.Stderr = terminal, &stderr
					if keys {
						c.Stdin = terminal
					}
					if err := c.Start(); err != nil {
						t.Fatal(err)
					}
					terminal.Close()
					seen := make([]byte, 1)
					if _, err := master.Read(seen); err != nil {
						t.Fatal(err)
					}
					drained := make(chan struct{})
					if name == "SIGHUP" {
						go func() {
							defer close(drained)
							_, _ = io.Copy(io.Discard, master) // it ends with EIO
						}()
					} else {
						close(drained)
					}
					if err := end(c, master); err != nil {
						t.Fatal(err)
					}
					if err := c.Wait(); err != nil || stderr.Len() > 0 {
						t.Errorf("%v, says %q", err, stderr.String())
					}
					<-drained
				})
			}
		}
	}
}
