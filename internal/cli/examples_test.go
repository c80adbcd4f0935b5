package cli

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// examplesOf returns the calls of this program in the examples of a command.
func examplesOf(c *cobra.Command) (calls [][]string) {
	for line := range strings.SplitSeq(c.Example, "\n") {
		line = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(line, "2026-03-01")
		for _, part := range regexp.MustCompile(`\bdirstorage ([^|>)']*)`).FindAllStringSubmatch(line, -1) {
			calls = append(calls, strings.Fields(strings.TrimRight(strings.TrimSpace(part[1]), ";")))
		}
	}
	return calls
}

// TestEachCommandHasExamples: the help of each command, and of each group of them, shows at least one call
// of it, and all calls that it shows have the flags and the number of arguments that they need.
func TestEachCommandHasExamples(t *testing.T) {
	t.Parallel()
	found := 0
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		own := false
		for _, args := range examplesOf(c) {
			found++
			e, _, _ := testEnv()
			if strings.Contains(c.Example, homeVariable+"=") {
				e.Getenv = func(name string) string { return map[string]string{homeVariable: "/srv/zodb"}[name] }
			}
			root := newRoot(e)
			root.InitDefaultHelpCmd()
			called, rest, err := root.Find(args)
			if err == nil {
				err = called.ParseFlags(rest)
			}
			if err == nil && called.Args != nil {
				err = called.ValidateArgs(called.Flags().Args())
			}
			if err != nil || called == root {
				t.Errorf("%s: dirstorage %s: %v", c.CommandPath(), strings.Join(args, " "), err)
				continue
			}
			path := called.CommandPath()
			own = own || path == c.CommandPath() || c.HasSubCommands() && strings.HasPrefix(path, c.CommandPath()+" ")
		}
		if !own && !c.Hidden {
			t.Errorf("%s: its help shows no call of it", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			each(sub)
		}
	}
	e, _, _ := testEnv()
	root := newRoot(e)
	root.InitDefaultHelpCmd()
	each(root)
	if found < 60 {
		t.Errorf("found %d calls", found)
	}
}

// TestKindsOfCommandsExist: the lists of paged and reporting commands name commands.
func TestKindsOfCommandsExist(t *testing.T) {
	t.Parallel()
	e, _, _ := testEnv()
	all := leaves(e)
	for _, name := range slices.Concat(pagedCommands(), reportingCommands()) {
		if all[name] == nil {
			t.Errorf("there is no command %s", name)
		}
	}
}
