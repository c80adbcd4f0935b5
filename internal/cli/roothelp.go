package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// commandGroup is commands for one job.
type commandGroup struct {
	title string
	names []string
}

// commandGroups are all commands, those to begin with first.
func commandGroups() []commandGroup {
	return []commandGroup{
		{"To begin with", []string{"import", "serve", "status", "backup", "restore"}},
		{"Make and copy", []string{"create", "estimate", "export", "convert", "demo"}},
		{"Look inside", []string{"log", "history", "show", "refs", "classes", "files"}},
		{"Watch a server", []string{"top", "health", "config"}},
		{"Remove old data", []string{"pack", "gc"}},
		{"Copy the files", []string{"snapshot"}},
		{"Find and mend", []string{"check", "doctor", "recover", "salvage"}},
		{"Set up", []string{"certs", "every", "bench", "completion", "man", "version"}},
	}
}

// rootHelp is the help of the program: one page.
func rootHelp(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n\nUsage:\n  dirstorage COMMAND [ARGUMENT...] [flags]\n  dirstorage help COMMAND | TOPIC\n\n", rootShort)
	for i, g := range commandGroups() {
		if i == 0 {
			g.describe(&b, root)
			b.WriteString("\nMore commands, which dirstorage help commands describes:\n")
			continue
		}
		fmt.Fprintf(&b, "  %-16s %s\n", g.title, strings.Join(g.names, ", "))
	}
	fmt.Fprintf(&b, "\n%s\n\nExamples:\n%s\n\nFlags:\n%s", topicList(), root.Example, root.LocalFlags().FlagUsagesWrapped(usualColumns))
	return b.String()
}

// describe lists the commands of a group with their short texts.
func (g commandGroup) describe(b *strings.Builder, root *cobra.Command) {
	fmt.Fprintf(b, "%s:\n", g.title)
	for _, name := range g.names {
		for _, c := range root.Commands() {
			if c.Name() == name {
				writeShort(b, c, 11)
			}
		}
	}
}

// printCommands lists all commands by their jobs.
func printCommands(root *cobra.Command) error {
	var b strings.Builder
	for i, g := range commandGroups() {
		if i > 0 {
			b.WriteByte('\n')
		}
		g.describe(&b, root)
	}
	_, err := io.WriteString(root.OutOrStdout(), b.String())
	return err
}
