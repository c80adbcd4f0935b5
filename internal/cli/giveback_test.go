//go:build unix

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// ofNobody is a HOME of a user without privileges, and the program where that user can run it.
type ofNobody struct {
	t        *testing.T
	self     string
	as       *syscall.SysProcAttr
	home     string
	revision string // the file of a revision, below home
}

func newOfNobody(t *testing.T) *ofNobody {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can leave files")
	}
	self, as := asSomebodyElse(t)
	h := &ofNobody{t: t, self: self, as: as, home: filepath.Join(filepath.Dir(self), "home")}
	want(t, exitOK, "imported", "import", "--format", "chunky", hometest.FileStorage(t, "undo.fs"), h.home)
	h.sh("chown -R %d %s", as.Credential.Uid, h.home)
	found, err := filepath.Glob(filepath.Join(h.home, "A/o000/000/000/000/0001.03*"))
	if err != nil || len(found) == 0 {
		t.Fatal("no revision of object 1:", err)
	}
	h.revision = slices.Max(found)
	return h
}

// sh has root's shell run something.
func (h *ofNobody) sh(format string, args ...any) {
	h.t.Helper()
	command := fmt.Sprintf(format, args...)
	if out, err := exec.CommandContext(h.t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
		h.t.Fatalf("%q: %v: %s", command, err, out)
	}
}

// ofRoot makes a file one that nobody else may read.
func (h *ofNobody) ofRoot(path string) {
	h.t.Helper()
	if err := errors.Join(os.Chown(path, 0, 0), os.Chmod(path, 0o600)); err != nil {
		h.t.Fatal(err)
	}
}

// command is a command of the program, by that user.
func (h *ofNobody) command(args ...string) *exec.Cmd {
	c := exec.CommandContext(h.t.Context(), h.self, args...)
	c.Env = append(os.Environ(), asProgram+"=1")
	c.Dir = "/"
	c.SysProcAttr = h.as
	return c
}

// run runs one, which has to end with a status, and returns its output.
func (h *ofNobody) run(status int, args ...string) string {
	h.t.Helper()
	c := h.command(args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.Run()
	if got := c.ProcessState.ExitCode(); got != status {
		h.t.Errorf("%q: status %d, want %d\n%s", args, got, status, &out)
	}
	return out.String()
}

// TestPackOfAServerNamesFilesOfRoot: of a pack that a running server does, the cause comes as far
// as that of one that the command does itself.
func TestPackOfAServerNamesFilesOfRoot(t *testing.T) {
	t.Parallel()
	h := newOfNobody(t)
	s := &serverProcess{t: t, cmd: h.command("serve", "--listen", "127.0.0.1:0", h.home)}
	s.start()
	s.await(&s.out, `Stop it with`)
	h.ofRoot(h.revision)
	chown := fmt.Sprintf("as root: chown -R --reference=%[1]s %[1]s\n", h.home)
	ofRoot := func(args ...string) string {
		var out bytes.Buffer
		c := program(t, args...)
		c.Stdout, c.Stderr = &out, &out
		c.Run()
		return out.String()
	}
	for who, text := range map[string]string{
		"the user":              h.run(exitFailed, "pack", "--keep", "0", h.home),
		"the user, a dry run":   h.run(exitFailed, "pack", "--keep", "0", "--dry-run", h.home),
		"the user, the classes": h.run(exitFailed, "gc", "--keep", "0", "--report", h.home),
		"root":                  ofRoot("pack", "--keep", "0", h.home),
	} {
		if !strings.Contains(text, "the running storage says: ") || !strings.Contains(text, "permission denied") || !strings.Contains(text, chown) || strings.Contains(text, "--skip-broken") {
			t.Errorf("%s is told %q, want %q", who, text, chown)
		}
	}
	h.sh("%s", strings.TrimPrefix(chown, "as root: "))
	if text := h.run(exitOK, "pack", "--keep", "0", h.home); !strings.Contains(text, "packed to") {
		t.Error(text)
	}
	s.end()
}

// TestChownNamesWhereALinkLeads: chown -R does not follow the link that A is.
func TestChownNamesWhereALinkLeads(t *testing.T) {
	t.Parallel()
	h := newOfNobody(t)
	disk := filepath.Join(filepath.Dir(h.self), "other disk")
	a := filepath.Join(h.home, "A")
	if err := errors.Join(os.Mkdir(disk, 0o755), os.Rename(a, filepath.Join(disk, "A")), os.Symlink(filepath.Join(disk, "A"), a)); err != nil {
		t.Fatal(err)
	}
	h.run(exitOK, "check", h.home) // the link is root's, and that is nothing

	out := filepath.Join(filepath.Dir(h.self), "out")
	if err := errors.Join(os.Mkdir(out, 0o755), os.Chown(out, int(h.as.Credential.Uid), -1)); err != nil {
		t.Fatal(err)
	}
	h.ofRoot(h.revision)
	target := shellWord(filepath.Join(disk, "A"))
	said := fmt.Sprintf("%s is a link to %s, which chown -R does not follow: if that is right, as root: ", a, filepath.Join(disk, "A"))
	command := fmt.Sprintf("chown -R --reference=%[1]s %[1]s %[2]s\n", h.home, target)
	for _, call := range []struct {
		status int
		args   []string
	}{
		{exitDamage, []string{"check", h.home}},
		{exitFailed, []string{"pack", "--keep", "0", h.home}},
		{exitFailed, []string{"export", h.home, filepath.Join(out, "x.fs")}},
	} {
		if text := h.run(call.status, call.args...); !strings.Contains(text, said+command) {
			t.Errorf("%q says %q, want %q", call.args, text, said+command)
		}
	}
	h.sh("%s", command)
	h.run(exitOK, "check", h.home)

	// The directory to which it leads.
	if err := errors.Join(os.Chown(filepath.Join(disk, "A"), 0, 0), os.Chmod(filepath.Join(disk, "A"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if text := h.run(exitDamage, "check", h.home); !strings.Contains(text, said+command) {
		t.Errorf("its target: %q, want %q", text, said+command)
	}
	h.sh("%s", command)
	h.run(exitOK, "check", h.home)
}

// TestRightUserWithoutTheRight: a file that belongs to the user of the storage, and has a mode that keeps
// that user out, is no reason to run the command as somebody else.
func TestRightUserWithoutTheRight(t *testing.T) {
	t.Parallel()
	h := newOfNobody(t)
	shut := filepath.Dir(h.revision)
	h.sh("chmod 0 %s", shut)
	const another = "run it as the user"
	if text := h.run(exitDamage, "check", h.home); !strings.Contains(text, "permission denied") || strings.Contains(text, another) {
		t.Errorf("check says %q", text)
	}
	mine := "hint: it belongs to the user that runs this"
	if text := h.run(exitFailed, "pack", "--keep", "0", h.home); !strings.Contains(text, mine) || !strings.Contains(text, "ls -ld "+shut) || strings.Contains(text, another) {
		t.Errorf("a pack says %q", text)
	}
	s := &serverProcess{t: t, cmd: h.command("serve", "--listen", "127.0.0.1:0", h.home)}
	s.start()
	s.await(&s.out, `Stop it with`)
	its := "hint: the user that the storage runs as has no right to it"
	if text := h.run(exitFailed, "pack", "--keep", "0", h.home); !strings.Contains(text, its) || !strings.Contains(text, "ls -ld "+shut) || strings.Contains(text, another) {
		t.Errorf("a pack of the server says %q", text)
	}
	h.sh("chmod 755 %s", shut)
	if text := h.run(exitOK, "pack", "--keep", "0", h.home); !strings.Contains(text, "packed to") {
		t.Error(text)
	}
	s.end()
}
