package cli

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
)

// leaves returns the commands that do something, by their names without that of the program.
func leaves(e *env) map[string]*cobra.Command {
	found := make(map[string]*cobra.Command)
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if sub.HasSubCommands() {
				each(sub)
			} else if !sub.Hidden {
				found[strings.TrimPrefix(sub.CommandPath(), "dirstorage ")] = sub
			}
		}
	}
	each(newRoot(e))
	return found
}

// testEnv is a world without a terminal.
func testEnv() (e *env, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return &env{Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Now: time.Now, Getenv: func(string) string { return "" }}, stdout, stderr
}

// withHome are calls of all commands that take an existing HOME, which is HOME in them.
// REPO and NEW are other names.
var withHome = map[string][]string{
	"status":          {"status", "HOME"},
	"top":             {"top", "--once", "HOME"},
	"log":             {"log", "HOME"},
	"history":         {"history", "HOME", "0x0"},
	"show":            {"show", "HOME", "0x0"},
	"refs":            {"refs", "HOME", "0x0"},
	"classes":         {"classes", "HOME"},
	"files":           {"files", "--since", "0x0", "HOME"},
	"export":          {"export", "HOME", "NEW"},
	"convert":         {"convert", "HOME", "NEW"},
	"pack":            {"pack", "HOME"},
	"gc":              {"gc", "--report", "HOME"},
	"check":           {"check", "HOME"},
	"recover":         {"recover", "HOME"},
	"salvage":         {"salvage", "NEW", "HOME"},
	"snapshot run":    {"snapshot", "run", "HOME", "--", "true"},
	"snapshot enter":  {"snapshot", "enter", "HOME"},
	"snapshot leave":  {"snapshot", "leave", "HOME"},
	"snapshot status": {"snapshot", "status", "HOME"},
	"backup full":     {"backup", "full", "HOME", "REPO"},
	"backup inc":      {"backup", "inc", "HOME", "REPO"},
	"backup run":      {"backup", "run", "HOME", "REPO"},
	"serve":           {"serve", "--create=false", "--listen", "127.0.0.1:0", "HOME"},
}

// withoutHome are the commands that are not in withHome, with the reason.
var withoutHome = map[string]string{
	"create": "HOME is made", "import": "HOME is made", "estimate": "a Data.fs", "config": "looks at no storage", "version": "", "man": "", "completion": "", "health": "a server", "doctor": "any directory will do", "every": "", "bench": "a server", "demo": "its own",
	"certs authority": "certificates", "certs server": "certificates", "certs client": "certificates", "certs renew": "certificates", "certs revoke": "certificates", "certs list": "certificates", "certs show": "certificates",
	"backup list": "a repository", "backup verify": "a repository", "backup prune": "a repository", "backup merge": "a repository", "restore": "a repository",
}

// TestEachCommandIsInATable keeps the tables complete by which the tests below go
// through all commands.
func TestEachCommandIsInATable(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	for name, c := range leaves(e) {
		_, with := withHome[name]
		why, without := withoutHome[name]
		if with == without {
			t.Errorf("%s: in withHome: %t, in withoutHome: %t", name, with, without)
		}
		takes := slices.ContainsFunc(argumentForms(c), func(f argumentForm) bool {
			return slices.ContainsFunc(f, func(p positional) bool { return p.variable == homeVariable })
		})
		if takes && without && !slices.Contains([]string{"HOME is made", "looks at no storage", "any directory will do"}, why) {
			t.Errorf("%s takes HOME, and is in withoutHome", name)
		}
	}
}

// call returns the arguments for a HOME in a directory.
func call(args []string, dir, home string) []string {
	args = slices.Clone(args)
	for i, a := range args {
		switch a {
		case "HOME":
			args[i] = home
		case "REPO", "NEW":
			args[i] = filepath.Join(dir, strings.ToLower(a))
		}
	}
	return args
}

// TestNoStorageHasOneStatus calls each command for something that is not a storage.
func TestNoStorageHasOneStatus(t *testing.T) {
	t.Parallel()
	for name, args := range withHome {
		for place, want := range map[string]string{
			"file": "is a file, not a directory", "empty": "has no config/settings", "nowhere": "does not exist", "file/below": "is below a file",
		} {
			t.Run(name+" "+place, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, "file"), []byte("no directory"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
					t.Fatal(err)
				}
				if name == "serve" && (place == "nowhere" || place == "empty") {
					want = "create = false" // and the remedy
				}
				e, stdout, stderr := testEnv()
				if got := run(t.Context(), e, call(args, dir, filepath.Join(dir, place))); got != exitNoStorage {
					t.Errorf("status %d, want %d", got, exitNoStorage)
				}
				if text := stderr.String(); !strings.Contains(text, "not a DirectoryStorage: ") || !strings.Contains(text, want) || !strings.Contains(text, "\nhint: ") || stdout.Len() > 0 {
					t.Errorf("says %q and %q, want %q and a hint", text, stdout, want)
				}
				for _, made := range []string{"repo", "new", "nowhere", "empty/misc"} {
					if _, err := os.Lstat(filepath.Join(dir, made)); err == nil {
						t.Errorf("made %s", made)
					}
				}
			})
		}
	}
}

// TestNoPermissionIsNotNoStorage calls each command as somebody who may not read HOME.
func TestNoPermissionIsNotNoStorage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(home, 0o700) })
	self, as := asSomebodyElse(t)
	hint := "hint: run it as the user to whom the storage belongs"
	if as == nil {
		hint = "hint: it belongs to the user that runs this"
	}
	for _, name := range slices.Sorted(maps.Keys(withHome)) {
		c := exec.Command(self, call(withHome[name], dir, home)...)
		c.Env = append(os.Environ(), asProgram+"=1")
		c.Dir = "/"
		c.SysProcAttr = as
		out, err := c.CombinedOutput()
		if c.ProcessState == nil {
			t.Fatalf("%s: %v", name, err)
		}
		text := string(out)
		if got := c.ProcessState.ExitCode(); got != exitFailed {
			t.Errorf("%s: status %d, want %d", name, got, exitFailed)
		}
		if !strings.Contains(text, "permission denied") || strings.Contains(text, "not a DirectoryStorage") || !strings.Contains(text, hint) {
			t.Errorf("%s says %q", name, text)
		}
	}
}

// asSomebodyElse returns this program, where a user without privileges can start it, and how:
// root may read everything.
func asSomebodyElse(t *testing.T) (program string, as *syscall.SysProcAttr) {
	t.Helper()
	if os.Geteuid() != 0 {
		return os.Args[0], nil
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program = filepath.Join(dir, "dirstorage")
	// By another process: a file that this one has open for writing cannot be executed, and the programs of
	// tests beside this one may have inherited it.
	if out, err := exec.Command("cp", os.Args[0], program).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const nobody = 65534
	return program, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// short are commands that are at their end before anybody could press Ctrl-C.
var short = []string{"create", "config", "version", "man", "completion", "certs authority", "certs server", "certs client", "certs renew", "certs revoke", "certs list", "certs show"}

// TestInterruptedCommandSaysWhatToDo calls each command with a context that has ended.
func TestInterruptedCommandSaysWhatToDo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	e, _, stderr := testEnv()
	if status := run(t.Context(), e, []string{"import", hometest.FileStorage(t, "undo.fs"), home}); status != 0 {
		t.Fatal(stderr)
	}
	if status := run(t.Context(), e, []string{"backup", "full", home, filepath.Join(dir, "repo")}); status != 0 {
		t.Fatal(stderr)
	}
	calls := maps.Clone(withHome)
	calls["import"] = []string{"import", hometest.FileStorage(t, "undo.fs"), "NEW"}
	calls["estimate"] = []string{"estimate", hometest.FileStorage(t, "undo.fs"), "NEW"}
	calls["bench"] = []string{"bench", "zeo://127.0.0.1:1"}
	calls["demo"] = []string{"demo"}
	calls["backup list"] = []string{"backup", "list", "REPO"}
	calls["backup verify"] = []string{"backup", "verify", "REPO"}
	calls["backup prune"] = []string{"backup", "prune", "--keep-chains", "1", "REPO"}
	calls["backup merge"] = []string{"backup", "merge", "REPO"}
	calls["restore"] = []string{"restore", "REPO", "NEW"}
	calls["health"] = []string{"health", "127.0.0.1:1"}
	calls["doctor"] = []string{"doctor", home}
	calls["every"] = []string{"every", "1h", "pack", home}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range leaves(e) {
		if slices.Contains(short, name) {
			continue
		}
		text := c.Annotations[ifInterrupted]
		if text == "" || calls[name] == nil {
			t.Errorf("%s says nothing about what to do after Ctrl-C", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			e, _, stderr := testEnv()
			args := call(calls[name], dir, home)
			if i := slices.Index(args, filepath.Join(dir, "new")); i >= 0 {
				args[i] = filepath.Join(t.TempDir(), "new")
			}
			got := run(ended, e, args)
			if got == exitOK {
				return // it was at its end before
			}
			if got != exitInterrupted || !strings.Contains(stderr.String(), "dirstorage: ") || !strings.Contains(stderr.String(), "interrupted\n") || strings.Contains(stderr.String(), "context canceled") {
				t.Errorf("status %d, says %q", got, stderr)
			}
			if !strings.Contains(stderr.String(), "\nhint: ") || strings.Count(stderr.String(), "interrupted") != 1 {
				t.Errorf("says %q", stderr)
			}
		})
	}
}

// TestHelpNamesEachFlag reads the help of each command as somebody does who types --help.
func TestHelpNamesEachFlag(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	for name, c := range leaves(e) {
		e, stdout, stderr := testEnv()
		if status := run(t.Context(), e, append(strings.Fields(name), "--help")); status != 0 {
			t.Errorf("%s --help: status %d, %s", name, status, stderr)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !slices.ContainsFunc([]string{" ", "[", ",", "\n"}, func(end string) bool { return strings.Contains(stdout.String(), "--"+f.Name+end) }) {
				t.Errorf("%s --help does not name --%s", name, f.Name)
			}
			if f.Usage == "" {
				t.Errorf("%s --help says nothing about --%s", name, f.Name)
			}
		})
		if !strings.Contains(stdout.String(), "dirstorage "+name) {
			t.Errorf("%s --help does not show how it is called", name)
		}
	}
}
