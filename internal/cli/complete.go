package cli

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/bench"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/zodb"
)

// flagValues returns the values of a flag that has a few of them; nil: any text will do.
func flagValues(name string) []string {
	switch name {
	case "format":
		return []string{"bundled", "bushy", "chunky", "lawn", "flat"}
	case "class":
		return []string{string(zodb.ClassFull), string(zodb.ClassMinimal)}
	case "announce":
		return []string{"pickle", "msgpack"}
	case "log-level":
		return []string{"debug", "info", "warn", "error"}
	case "log-format":
		return []string{"text", "json"}
	case "web-allow":
		return []string{"pack", "blobs"}
	case "missing-blobs":
		return []string{"stop", "skip"}
	case "gc":
		return []string{"on", "off"}
	case "python":
		return []string{"2", "3"}
	case "only":
		return bench.Names()
	case "sort":
		return topKeys()
	}
	return nil
}

// completeValues lets shells complete the values of flags, and arguments.
func (e *env) completeValues(c *cobra.Command) {
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Value.Type() != "bool" {
			_ = c.RegisterFlagCompletionFunc(f.Name, e.valueCompletion(f)) // of a flag that is there, and for the first time
		}
	})
	if c.ValidArgs == nil {
		c.ValidArgsFunction = e.argumentCompletion
	}
	for _, sub := range c.Commands() {
		e.completeValues(sub)
	}
}

// valueCompletion completes a flag: by its values, or by the kind that its help names.
func (e *env) valueCompletion(f *pflag.Flag) cobra.CompletionFunc {
	kind, _ := pflag.UnquoteUsage(f)
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		values := flagValues(f.Name)
		switch {
		case values != nil:
			return begunWith(values, begun), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		case c.Name() == "restore" && f.Name == "to":
			return begunWith(e.backupNames(c, args), begun), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		case kind == "DIR":
			return nil, cobra.ShellCompDirectiveFilterDirs
		case kind == "FILE":
			return nil, cobra.ShellCompDirectiveDefault
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// begunWith are the words that begin with the letters that are there.
func begunWith(words []string, begun string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !strings.HasPrefix(w, begun) })
}

// source is the part of a usage with the kinds of an argument that is a file, a HOME or a server.
var source = regexp.MustCompile(`\{[^}]*\}`)

// argumentCompletion completes an argument by its name in the usage of the command.
func (e *env) argumentCompletion(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	switch c.Name() {
	case "help":
		return begunWith(helpNames(c, args), begun), cobra.ShellCompDirectiveNoFileComp
	case "man":
		var names []string
		for _, p := range manual(c.Root()) {
			names = append(names, p.name)
		}
		return begunWith(names, begun), cobra.ShellCompDirectiveNoFileComp
	}
	use, _, _ := strings.Cut(source.ReplaceAllString(c.Use, "FILE"), " | ")
	names := strings.Fields(use)[1:]
	name := ""
	switch {
	case len(args) < len(names):
		name = names[len(args)]
	case len(names) > 0 && strings.Contains(names[len(names)-1], "..."):
		name = names[len(names)-1]
	}
	switch strings.Trim(name, "[].") {
	case "HOME", "REPO", "TARGET", "NEW", "DIR", "HOME|DIR":
		return nil, cobra.ShellCompDirectiveFilterDirs
	case "BACKUP":
		return begunWith(e.backupNames(c, args), begun), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	case "FILE", "PATH", "DATA.FS", "COMMAND", "ARG", "ARGUMENT", "--":
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// helpNames are the commands, and the topics, that help has after some words.
func helpNames(c *cobra.Command, args []string) (names []string) {
	at, rest, err := c.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil
	}
	for _, sub := range at.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name()+"\t"+sub.Short)
		}
	}
	if !at.HasParent() {
		for _, t := range topics() {
			names = append(names, t.name+"\t"+t.short)
		}
	}
	return names
}

// backupNames are the backups of the repository among the arguments, or of the environment, the newest first.
func (e *env) backupNames(c *cobra.Command, args []string) (names []string) {
	repo := e.Getenv(repositoryVariable)
	if len(args) > 0 {
		repo = args[0]
	}
	if repo == "" {
		return nil
	}
	r, err := openRepository(c.Context(), repo)
	if err != nil {
		return nil // the command itself says why
	}
	for _, m := range slices.Backward(r.Backups) {
		names = append(names, m.Name+"\t"+human.FormatTime(m.TID.Time(), time.Local))
	}
	return names
}
