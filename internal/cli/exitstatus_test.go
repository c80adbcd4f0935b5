package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestExitStatusesAreThoseOfTheDocument goes through all statuses of the table in
// docs/cli.md.
func TestExitStatusesAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	home, script := at("home"), at("script")
	if err := os.WriteFile(script, []byte("not a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, _, stderr := testEnv()
	if status := run(t.Context(), e, []string{"create", home}); status != exitOK {
		t.Fatal(stderr)
	}
	stopped := at("stopped") // whose check is recorded
	if err := engine.Create(stopped, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	open := at("open")
	if err := engine.Create(open, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := engine.Open(t.Context(), open, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	damaged := at("damaged")
	e, _, stderr = testEnv()
	if status := run(t.Context(), e, []string{"import", hometest.FileStorage(t, "undo.fs"), damaged}); status != exitOK {
		t.Fatal(stderr)
	}
	if err := os.WriteFile(filepath.Join(damaged, "A", "x.oid"), []byte("not eight bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	crashed := at("crashed")
	e, _, stderr = testEnv()
	if status := run(t.Context(), e, []string{"import", hometest.FileStorage(t, "undo.fs"), crashed}); status != exitOK {
		t.Fatal(stderr)
	}
	if err := os.Remove(filepath.Join(crashed, "misc", "snapshot")); err != nil {
		t.Fatal(err)
	}
	calls := map[int][][]string{
		exitOK:            {{"status", home}, {"snapshot", "run", home, "--", "true"}, {"version"}, {"help"}, {"--version"}},
		exitFailed:        {{"create", home}, {"create", at("a/b")}, {"import", at("nowhere.fs"), at("new")}, {"import", "zeo://127.0.0.1:1", at("new")}, {"backup", "list", at("nowhere")}},
		exitUsage:         {{"nosuch"}, {"help", "nosuch"}, {"status"}, {"status", ""}, {"status", "--nosuch", home}, {"create", "--format", "foo", at("new")}, {"log", "--from", "yesterday", home}, {"serve", "--log-level", "loud", home}},
		exitDamage:        {{"check", damaged}},
		exitLocked:        {{"recover", open}, {"serve", "--listen", "127.0.0.1:0", open}},
		exitProblem:       {{"status", crashed}},
		exitNoStorage:     {{"status", at("nowhere")}, {"status", script}, {"check", dir}, {"serve", "--create=false", "--listen", "127.0.0.1:0", at("nowhere")}},
		exitNotExecutable: {{"snapshot", "run", home, "--", script}},
		exitNotFound:      {{"snapshot", "run", home, "--", "no-such-program"}},
		exitInterrupted:   {{"check", stopped}},
		7:                 {{"snapshot", "run", home, "--", "sh", "-c", "exit 7"}},
		128 + 9:           {{"snapshot", "run", home, "--", "sh", "-c", "kill -9 $$"}},
	}
	for want, list := range calls {
		for _, args := range list {
			ctx := t.Context()
			if want == exitInterrupted {
				ctx = ended
			}
			e, stdout, stderr := testEnv()
			if got := run(ctx, e, args); got != want {
				t.Errorf("%v: status %d, want %d\n%s%s", args, got, want, stdout, stderr)
			}
			if want != exitOK && want != exitDamage && want != exitProblem && want != 7 && want != 128+9 && stderr.Len() == 0 {
				t.Errorf("%v: status %d, and not a word about it", args, want)
			}
		}
	}

	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(text), "\n## Exit status\n")
	part, _, _ = strings.Cut(part, "\n## ")
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile(`(?m)^\| ([0-9]+) \|`).FindAllStringSubmatch(part, -1) {
		documented[row[1]] = true
	}
	for want := range calls {
		if ofCommand := want == 7 || want == 128+9; !ofCommand && !documented[fmt.Sprint(want)] {
			t.Errorf("docs/cli.md does not have status %d", want)
		}
		delete(documented, fmt.Sprint(want))
	}
	for left := range documented {
		t.Errorf("docs/cli.md has status %s, and this test does not see it", left)
	}
}

// TestAdviceOnACommandThatMayNotBeExecuted is about COMMAND, not about the owner of the storage.
func TestAdviceOnACommandThatMayNotBeExecuted(t *testing.T) {
	t.Parallel()
	home, script := filepath.Join(t.TempDir(), "home"), filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("not a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e, _, stderr := testEnv()
	status := run(t.Context(), e, []string{"snapshot", "run", home, "--", script})
	if text := stderr.String(); status != exitNotExecutable || !strings.Contains(text, "hint: see ls -l "+script) || strings.Contains(text, "sudo") {
		t.Errorf("status %d: %s", status, text)
	}
}

// TestDocumentOfTheCommandsIsNarrow keeps docs/cli.md readable in a terminal.
func TestDocumentOfTheCommandsIsNarrow(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		if n := len([]rune(line)); n > 100 {
			t.Errorf("line %d has %d characters", i+1, n)
		}
	}
}
