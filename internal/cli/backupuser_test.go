package cli

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestBackupsOfAnotherUser: who may not read the backups is told so, not that there are none or that
// they are damaged.
func TestBackupsOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can run a program as another user")
	}
	self, as := asSomebodyElse(t)
	dir := filepath.Dir(self)
	in := func(name string) string { return filepath.Join(dir, name) }
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), in("home"))
	want(t, exitOK, "full backup", "backup", "full", in("home"), in("repo"))
	for _, c := range []struct {
		status int
		says   []string
		args   []string
	}{
		{exitFailed, []string{"no backup in ", "permission denied", "run it as the user"}, []string{"restore", in("repo"), in("new")}},
		{exitFailed, []string{"no backup in ", "permission denied", "run it as the user"}, []string{"restore", "--to", "2026-01-01", in("repo"), in("new")}},
		{exitFailed, []string{"-full cannot be verified: ", "may not read 1 of 1 backup\n", "run it as the user to whom the backups belong"}, []string{"backup", "verify", in("repo")}},
		{exitFailed, []string{"the list is not complete: this user may not read the manifest of 1 backup\n", "run it as the user to whom the backups belong"}, []string{"backup", "list", in("repo")}},
		{exitFailed, []string{"permission denied", "no right to the backups"}, []string{"backup", "prune", "--keep-chains", "1", in("repo")}},
		{exitFailed, []string{"permission denied", "no right to the backups"}, []string{"backup", "merge", in("repo")}},
	} {
		cmd := exec.Command(self, c.args...)
		cmd.Env, cmd.SysProcAttr = append(os.Environ(), asProgram+"=1"), as
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatalf("%q did not start", c.args)
		}
		if cmd.ProcessState.ExitCode() != c.status {
			t.Errorf("%q: status %d", c.args, cmd.ProcessState.ExitCode())
		}
		for _, s := range c.says {
			if !strings.Contains(string(out), s) {
				t.Errorf("%q does not say %q: %s", c.args, s, out)
			}
		}
		if strings.Contains(string(out), "no backups") || strings.Contains(string(out), "not good") || strings.Contains(string(out), "to whom the storage belongs") {
			t.Errorf("%q: %s", c.args, out)
		}
	}
	if err := os.Chmod(in("repo"), 0o700); err != nil { // names cannot be seen either
		t.Fatal(err)
	}
	for _, args := range [][]string{{"backup", "list", in("repo")}, {"backup", "verify", in("repo")}, {"backup", "prune", "--keep-chains", "1", in("repo")}, {"backup", "merge", in("repo")}, {"restore", in("repo"), in("new")}} {
		cmd := exec.CommandContext(t.Context(), self, args...)
		cmd.Env, cmd.SysProcAttr = append(os.Environ(), asProgram+"=1"), as
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitFailed || strings.Contains(string(out), "no backups") || !strings.Contains(string(out), "no right to the backups") {
			t.Errorf("%q: %v\n%s", args, cmd.ProcessState, out)
		}
	}
}

// TestATrialThatFailsForItsPlaceSaysNothingOfBackups: they are not recorded as bad, so that the next backup builds
// upon them.
func TestATrialThatFailsForItsPlaceSaysNothingOfBackups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, repo := filepath.Join(dir, "home"), filepath.Join(dir, "repo")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	want(t, exitOK, "full backup", "backup", "full", home, repo)
	code, stdout, stderr := command(t.Context(), "backup", "verify", "--restore", "--tmp", filepath.Join(dir, "missing"), repo)
	if text := stderr.String(); code != exitFailed || stdout.String() != "" || !strings.Contains(text, "no restore could be tried: ") || !strings.Contains(text, "hint: look whether --tmp is right") {
		t.Errorf("status %d, %s%s", code, stdout, text)
	}
	if noted, err := filepath.Glob(filepath.Join(repo, "*.verified.json")); err != nil || len(noted) > 0 {
		t.Errorf("%q, %v", noted, err)
	}
	want(t, exitOK, "nothing has changed since", "backup", "run", home, repo)

	// The outcomes before it are told.
	archives, err := filepath.Glob(filepath.Join(repo, "*.tar*"))
	if err != nil || len(archives) != 1 {
		t.Fatalf("%q, %v", archives, err)
	}
	if err := os.Truncate(archives[0], 100); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "full backup", "backup", "full", home, repo)
	code, stdout, stderr = command(t.Context(), "backup", "verify", "--restore", "--tmp", filepath.Join(dir, "missing"), repo)
	if code != exitDamage || !strings.Contains(stdout.String(), " is not good: ") || !strings.Contains(stderr.String(), "no restore could be tried: ") {
		t.Errorf("status %d, %s%s", code, stdout, stderr)
	}
}

// TestControlSocketOfAnotherUser: who may not connect to a running storage is told to do it as its user, not
// that none runs.
func TestControlSocketOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can run a program as another user")
	}
	self, as := asSomebodyElse(t)
	home := filepath.Join(filepath.Dir(self), "home")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	if err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s := startServe(t, "--listen", "127.0.0.1:0", home)
	s.await(&s.log, `listening address=(127\.\S+)`)
	for _, args := range [][]string{{"status", home}, {"pack", home}, {"snapshot", "enter", home}} {
		cmd := exec.Command(self, args...)
		cmd.Env, cmd.SysProcAttr = append(os.Environ(), asProgram+"=1"), as
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), "whether a storage runs there cannot be seen: connect to its control socket: ") || !strings.Contains(string(out), "\nhint: run it as the user to whom the storage belongs, the one that serves it (sudo -u USER dirstorage") {
			t.Errorf("%q: %v: %s", args, cmd.ProcessState, out)
		}
	}
	s.end()
}
