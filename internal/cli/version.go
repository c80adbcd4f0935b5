package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  "Print the version of the program, the revision of its source where that is known, and the version of Go that built it.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			version, revision := buildInfo()
			if revision != "" {
				revision = " (" + revision + ")"
			}
			_, err := fmt.Fprintf(e.Stdout, "dirstorage %s%s %s\n", version, revision, runtime.Version())
			return err
		},
	}
}

// buildInfo returns the version of the program, and the revision of its source
// where that is known.
func buildInfo() (version, revision string) {
	version = "unknown"
	if b, ok := debug.ReadBuildInfo(); ok {
		version = b.Main.Version
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return version, revision
}
