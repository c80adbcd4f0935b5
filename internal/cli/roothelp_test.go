package cli

import (
	"slices"
	"strings"
	"testing"
)

// TestHelpIsOnePageOfGroups: each command is in one group, and the page fits on a screen.
func TestHelpIsOnePageOfGroups(t *testing.T) {
	t.Parallel()
	e, stdout, _ := testEnv()
	if got := run(t.Context(), e, []string{"--help"}); got != exitOK {
		t.Fatalf("status %d", got)
	}
	page := stdout.String()
	var names []string
	for _, g := range commandGroups() {
		names = append(names, g.names...)
	}
	var all []string
	for _, c := range newRoot(e).Commands() {
		if !c.Hidden {
			all = append(all, c.Name())
		}
	}
	slices.Sort(names)
	slices.Sort(all)
	if !slices.Equal(names, all) {
		t.Errorf("in groups: %q\ncommands: %q", names, all)
	}
	first := strings.Index(page, "To begin with:\n")
	for _, name := range commandGroups()[0].names {
		if at := strings.Index(page, "\n  "+name+" "); first < 0 || at < first {
			t.Errorf("%s is not at the top of\n%s", name, page)
		}
	}
	lines := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
	if len(lines) > 48 {
		t.Errorf("%d lines:\n%s", len(lines), page)
	}
	for _, line := range lines {
		if len([]rune(line)) > usualColumns {
			t.Errorf("%d characters: %s", len([]rune(line)), line)
		}
	}
	e, stdout, _ = testEnv()
	if got := run(t.Context(), e, []string{"help", "commands"}); got != exitOK {
		t.Fatalf("status %d", got)
	}
	words := strings.Join(strings.Fields(stdout.String()), " ")
	for _, c := range newRoot(e).Commands() {
		if !c.Hidden && !strings.Contains(words, " "+c.Name()+" "+c.Short) {
			t.Errorf("help commands does not describe %s", c.Name())
		}
	}
}
