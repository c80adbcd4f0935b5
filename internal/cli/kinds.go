package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// pagedCommands print lists that may be long.
func pagedCommands() []string {
	return []string{"log", "history", "show", "refs", "classes", "files", "check", "backup list", "certs list", "config"}
}

// reportingCommands do something, and print only a report on it: --quiet leaves that out.
func reportingCommands() []string {
	return []string{
		"create", "import", "export", "convert", "pack", "recover", "salvage", "snapshot leave", "serve",
		"backup full", "backup inc", "backup run", "backup prune", "backup merge", "restore",
		"certs authority", "certs server", "certs client", "certs renew", "certs revoke",
	}
}

// among reports whether a command is one of those.
func among(names []string, c *cobra.Command) bool {
	return slices.Contains(names, strings.TrimPrefix(c.CommandPath(), "dirstorage "))
}

// asksForResult reports whether a command was called with an option for which its output is the purpose.
func asksForResult(c *cobra.Command) bool {
	return slices.ContainsFunc([]string{"json", "dry-run"}, func(name string) bool {
		f := c.Flags().Lookup(name)
		return f != nil && f.Changed
	})
}
