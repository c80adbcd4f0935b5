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
		Long:       "Print the version of the program, the commit of its source where that is known, and the version of Go that built it.",
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
	Modified bool   `json:"modified"` // the source differs from that of the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func printVersion(e *env, asJSON bool) error {
	v := versionReport{Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	v.Version, v.Commit, v.Modified = buildInfo()
	if asJSON {
		return e.printJSON(v)
	}
	commit := "commit not known"
	if v.Commit != "" {
		commit = "commit " + v.Commit
	}
	if v.Modified {
		commit += ", modified"
	}
	_, err := fmt.Fprintf(e.Stdout, "dirstorage %s (%s) %s %s\n", v.Version, commit, v.Go, v.Platform)
	return err
}

// buildInfo returns the version of the program, the commit of its source where that is
// known, and whether the source had changes beside that.
func buildInfo() (version, commit string, modified bool) {
	version = "unknown"
	if b, ok := debug.ReadBuildInfo(); ok {
		version = b.Main.Version
		for _, s := range b.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = s.Value
			case "vcs.modified":
				modified = s.Value == "true"
			}
		}
	}
	return version, commit, modified
}
