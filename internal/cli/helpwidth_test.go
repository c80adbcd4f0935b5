package cli

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// helpPages are the ways to ask for a help: of each command, also of those with others below them, and of
// each topic.
func helpPages() (pages [][]string) {
	e, _, _ := testEnv()
	root := newRoot(e)
	root.InitDefaultHelpCmd()
	var walk func(c *cobra.Command, path []string)
	walk = func(c *cobra.Command, path []string) {
		pages = append(pages, append(path[:len(path):len(path)], "--help"))
		for _, sub := range c.Commands() {
			walk(sub, append(path[:len(path):len(path)], sub.Name()))
		}
	}
	walk(root, nil)
	pages = append(pages, []string{"help", "commands"})
	for _, t := range topics() {
		pages = append(pages, []string{"help", t.name})
	}
	return pages
}

// TestHelpFitsATerminal reads each help: no line is wider than 80 columns, and none of an example wider
// than 100.
func TestHelpFitsATerminal(t *testing.T) {
	t.Parallel()
	const exampleColumns = 100
	for _, args := range helpPages() {
		e, stdout, stderr := testEnv()
		if status := run(t.Context(), e, args); status != exitOK {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
		examples := false
		for line := range strings.SplitSeq(stdout.String(), "\n") {
			if line == "" || strings.HasPrefix(line, "Examples:") {
				examples = line != ""
			}
			limit := usualColumns
			if examples {
				limit = exampleColumns
			}
			if n := utf8.RuneCountInString(line); n > limit {
				t.Errorf("%q has a line of %d columns: %s", args, n, line)
			}
			if strings.TrimRight(line, " ") != line {
				t.Errorf("%q has a line with blanks behind it: %q", args, line)
			}
		}
	}
	if n := len(helpPages()); n < 50 {
		t.Errorf("only %d pages were read", n)
	}
}

// TestHelpLosesNoWord compares the words of each help with those of the texts that it is made of.
func TestHelpLosesNoWord(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	for name, c := range leaves(e) {
		e, stdout, _ := testEnv()
		run(t.Context(), e, append(strings.Fields(name), "--help"))
		shown := strings.Join(strings.Fields(stdout.String()), " ")
		texts := []string{c.Long, c.UseLine(), c.Example}
		if c.Long == "" {
			texts[0] = c.Short
		}
		for _, text := range texts {
			if want := strings.Join(strings.Fields(text), " "); !strings.Contains(shown, want) {
				t.Errorf("%s --help lacks words of\n%s", name, text)
			}
		}
	}
}
