package cli

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// completed returns the words that a shell gets for the last argument, and the kinds of names that it may add.
func completed(t *testing.T, args ...string) (words []string, directive string) {
	t.Helper()
	e, stdout, stderr := testEnv()
	if status := run(t.Context(), e, append([]string{cobra.ShellCompNoDescRequestCmd}, args...)); status != exitOK {
		t.Fatalf("%q: status %d, %s", args, status, stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	last := len(lines) - 1
	names := map[string]string{":0": "files", ":4": "", ":16": "directories", ":36": ""}
	directive, known := names[lines[last]]
	if !known {
		t.Errorf("%q: directive %s", args, lines[last])
	}
	return lines[:last], directive
}

// TestValuesAreCompleted of flags, and arguments.
func TestValuesAreCompleted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, repo := filepath.Join(dir, "home"), filepath.Join(dir, "repo")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	want(t, exitOK, "full backup", "backup", "run", home, repo)
	want(t, exitOK, "full backup", "backup", "full", home, repo)
	for args, expected := range map[string]string{
		"create --format ":        "bundled bushy chunky lawn flat:",
		"serve --log-level w":     "warn:",
		"serve --class ":          "Full Minimal:",
		"pack --gc=":              "on off:",
		"top --sort waits":        "waits:",
		"import --missing-blobs ": "stop skip:",
		"man dirstorage-restore":  "dirstorage-restore:",
		"help ex":                 "export exit-status:",
		"help backup ver":         "verify:",
		"completion ":             "bash fish zsh:",
		"status ":                 ":directories",
		"status HOME ":            ":",
		"history HOME ":           ":",
		"import ":                 ":files",
		"import Data.fs ":         ":directories",
		"certs show a.pem ":       ":files",
		"serve --blob-dir ":       ":directories",
		"serve --tls-key ":        ":files",
		"log -n ":                 ":",
		"restore REPO ":           ":directories",
		"restore --to ":           ":",
		"snapshot run HOME -- ":   ":files",
	} {
		words, directive := completed(t, strings.Split(args, " ")...)
		if args == "completion " {
			slices.Sort(words)
		}
		if got := strings.Join(words, " ") + ":" + directive; got != expected {
			t.Errorf("%s is completed to %q, want %q", args, got, expected)
		}
	}
	for _, args := range [][]string{{"restore", repo, "--to", ""}, {"backup", "verify", repo, ""}, {"backup", "merge", repo, "20"}} {
		words, directive := completed(t, args...)
		if len(words) != 2 || !strings.HasSuffix(words[0], "-full-2") && words[0] < words[1] || directive != "" {
			t.Errorf("%q is completed to %q and %q", args, words, directive)
		}
	}
}

// TestEachValueThatIsCompletedIsNamedByItsFlag: of those that it has a list of, and the other way round.
func TestEachValueThatIsCompletedIsNamedByItsFlag(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	seen := make(map[string]bool)
	for name, c := range leaves(e) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			kind, usage := pflag.UnquoteUsage(f)
			values := flagValues(f.Name)
			seen[f.Name] = true
			if values == nil && kind == "string" && strings.Contains(usage, " or ") {
				t.Errorf("%s --%s has values that are not completed, or its help has no name of its kind: %s", name, f.Name, usage)
			}
			if kind == "COLUMN" || kind == "NAMES" {
				return // they have lists elsewhere
			}
			for _, v := range values {
				if !strings.Contains(usage, v) {
					t.Errorf("%s --%s is completed to %s, of which its help has nothing: %s", name, f.Name, v, usage)
				}
			}
		})
	}
	for _, name := range []string{"format", "class", "announce", "log-level", "log-format", "web-allow", "missing-blobs", "gc", "python", "only", "sort"} {
		if !seen[name] || len(flagValues(name)) < 2 {
			t.Errorf("no command has --%s, or it has no values", name)
		}
	}
}
