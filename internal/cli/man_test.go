package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// said runs a command that has to succeed and returns its output.
func said(t *testing.T, args ...string) string {
	t.Helper()
	e, stdout, stderr := testEnv()
	if status := run(t.Context(), e, args); status != exitOK || stderr.Len() > 0 {
		t.Fatalf("%q has status %d: %s", args, status, stderr)
	}
	return stdout.String()
}

// requests are those of the language of man that the pages use.
var requests = regexp.MustCompile(`^\.(TH|SH|PP|TP|RS|RE|nf|fi)\b`)

// TestManualHasAPageForEachCommand reads each page as it is printed.
func TestManualHasAPageForEachCommand(t *testing.T) {
	t.Parallel()
	pages := make(map[string]string)
	for _, name := range strings.Fields(said(t, "man", "--list")) {
		pages[name] = said(t, "man", name)
	}
	e, _, _ := testEnv()
	commands := leaves(e)
	if want := len(commands) + len(topics()); len(pages) < want {
		t.Errorf("%d pages of the manual, want at least %d", len(pages), want)
	}
	for name, c := range commands {
		text := pages["dirstorage-"+strings.ReplaceAll(name, " ", "-")+".1"]
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(text, `\fB\-\-`+roff(f.Name)+`\fR`) {
				t.Errorf("the page of %s does not have --%s", name, f.Name)
			}
		})
		if c.Example != "" && !strings.Contains(text, ".SH \"EXAMPLES\"\n") {
			t.Errorf("the page of %s has no examples", name)
		}
	}
	for name, text := range pages {
		if !strings.HasPrefix(text, ".TH ") || !strings.Contains(text, ".SH \"NAME\"\n") {
			t.Errorf("%s begins with %.80q", name, text)
		}
		for _, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && !requests.MatchString(line) {
				t.Errorf("%s: %q would be a request", name, line)
			}
		}
	}
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Log("there is no mandoc here to read the pages")
		return
	}
	dir := t.TempDir()
	args := []string{"-T", "lint", "-W", "warning"}
	for name, text := range pages {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	out, err := exec.Command(mandoc, args...).CombinedOutput()
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if line != "" && !strings.Contains(line, "missing date") { // a build of tests has none
			t.Error(line)
		}
	}
	if err != nil && len(out) == 0 {
		t.Errorf("mandoc: %v", err)
	}
}

func TestManualOfNothing(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"man", "nosuch"}, {"man", "--list", "serve"}, {"man", "a", "b"}, {"completion"}, {"completion", "csh"}} {
		e, stdout, stderr := testEnv()
		if status := run(t.Context(), e, args); status != exitUsage || stdout.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%q has status %d, prints %q and %q", args, status, stdout, stderr)
		}
	}
}

// TestTopicsFitATerminal also sees to it that the help names each topic.
func TestTopicsFitATerminal(t *testing.T) {
	t.Parallel()
	help := said(t, "--help")
	for _, topic := range topics() {
		if !strings.Contains(help, "  "+topic.name+" ") {
			t.Errorf("dirstorage --help does not name the topic %s", topic.name)
		}
		text := said(t, "help", topic.name)
		for _, line := range strings.Split(text, "\n") {
			if n := len([]rune(line)); n > usualColumns {
				t.Errorf("topic %s has a line of %d characters: %s", topic.name, n, line)
			}
		}
		e, _, _ := testEnv()
		for _, c := range newRoot(e).Commands() {
			if c.Name() == topic.name {
				t.Errorf("%s is a topic and a command", topic.name)
			}
		}
	}
}

// TestCommandsInTopicsAreRight parses each command that a topic shows, and the examples of all
// commands.
func TestCommandsInTopicsAreRight(t *testing.T) {
	t.Parallel()
	texts := make(map[string]string)
	for _, topic := range topics() {
		texts[topic.name] = said(t, "help", topic.name)
	}
	e, _, _ := testEnv()
	for name, c := range leaves(e) {
		texts[name] = c.Example
	}
	found := 0
	for name, text := range texts {
		for _, line := range strings.Split(text, "\n") {
			line, ok := strings.CutPrefix(line, "  dirstorage ")
			if !ok {
				continue
			}
			found++
			line, _, _ = strings.Cut(line, " | ")
			line, _, _ = strings.Cut(line, " > ")
			args := strings.Fields(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(line, "2026-03-01"))
			e, _, _ := testEnv()
			root := newRoot(e)
			c, rest, err := root.Find(args)
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err == nil && c.Args != nil {
				err = c.ValidateArgs(c.Flags().Args())
			}
			if err != nil || c == root {
				t.Errorf("%s: dirstorage %s: %v", name, line, err)
			}
		}
	}
	if found < 40 {
		t.Errorf("found %d commands", found)
	}
}

// TestConfigurationTopicHasAllSettings compares it with the flags of serve.
func TestConfigurationTopicHasAllSettings(t *testing.T) {
	t.Parallel()
	text := said(t, "help", "configuration")
	e, _, _ := testEnv()
	leaves(e)["serve"].LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && !regexp.MustCompile(`(?m)^  `+f.Name+`( \(.*\))?$`).MatchString(text) {
			t.Errorf("help configuration does not have %s", f.Name)
		}
	})
	sample, err := os.ReadFile(filepath.Join("..", "..", "dist", "dirstorage.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := said(t, "config", "--sample"); got != string(sample) {
		t.Error("config --sample differs from dist/dirstorage.toml")
	}
}

// TestExitStatusTopicIsThatOfTheDocument compares it with the table in docs/cli.md.
func TestExitStatusTopicIsThatOfTheDocument(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	numbers := func(pattern, text string) (list string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			list += m[1] + " "
		}
		return list
	}
	_, part, _ := strings.Cut(string(b), "\n## Exit status\n")
	part, _, _ = strings.Cut(part, "\n## ")
	want, got := numbers(`(?m)^\| (\d+) \|`, part), numbers(`(?m)^  (\d+) `, said(t, "help", "exit-status"))
	if got != want || want == "" {
		t.Errorf("the topic has %s, docs/cli.md has %s", got, want)
	}
}

// TestHomeTopicNamesFilesThatExist looks for each path in docs/format.md.
func TestHomeTopicNamesFilesThatExist(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "format.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^  ([a-z]\S*[/.]\S+|A/|B/|journal/) `).FindAllStringSubmatch(said(t, "help", "home"), -1)
	for _, m := range found {
		if !strings.Contains(string(b), "`"+m[1]+"`") && m[1] != "backups/" {
			t.Errorf("docs/format.md has no %s", m[1])
		}
	}
	if len(found) < 10 {
		t.Errorf("found %d paths", len(found))
	}
}

// TestCompletionIsThatOfTheShell gives the scripts to the shells that are there.
func TestCompletionIsThatOfTheShell(t *testing.T) {
	t.Parallel()
	for shell, want := range map[string]string{"bash": "__start_dirstorage", "zsh": "#compdef dirstorage", "fish": "complete -c dirstorage"} {
		text := said(t, "completion", shell)
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the completion of %s", want, shell)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		c := exec.Command(path, "-n")
		c.Stdin = strings.NewReader(text)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	e, stdout, _ := testEnv()
	if run(t.Context(), e, []string{cobra.ShellCompRequestCmd, "backup", "ve"}); !strings.HasPrefix(stdout.String(), "verify\t") {
		t.Errorf("completes backup ve to %q", stdout)
	}
}
