package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:        "version",
		Short:      "Print the version",
		Long:       "Print the version of the program, the commit of its source and the date of that\nwhere they are known, and the version of Go that built it.",
		Example:    "  dirstorage version\n  dirstorage version --json",
		Args:       cobra.NoArgs,
		SuggestFor: []string{"about"},
		RunE:       func(*cobra.Command, []string) error { return printVersion(e, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// versionReport is the output of version --json.
type versionReport struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`   // empty: not known
	Date     string `json:"date"`     // of the commit, RFC 3339; empty: not known
	Modified bool   `json:"modified"` // the source differs from that of the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func printVersion(e *env, asJSON bool) error {
	v := buildInfo()
	if asJSON {
		return e.printJSON(v)
	}
	commit := "commit not known"
	if v.Commit != "" {
		commit = "commit " + v.Commit
	}
	if v.Date != "" {
		commit += " of " + v.Date
	}
	if v.Modified {
		commit += ", modified"
	}
	_, err := fmt.Fprintf(e.Stdout, "dirstorage %s (%s) %s %s\n", v.Version, commit, v.Go, v.Platform)
	return err
}

// buildInfo returns the notes of Go in the program.
func buildInfo() versionReport {
	v := versionReport{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = b.Main.Version
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Date = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
