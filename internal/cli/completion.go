package cli

import (
	"github.com/spf13/cobra"
)

func newCompletion(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion of commands and flags for a shell",
		Long: `Print a script by which a shell completes the commands and flags of dirstorage, values
of flags, topics of the help, pages of the manual, and names of backups. The packages
have it in its place.`,
		Example: `  source <(dirstorage completion bash)
  dirstorage completion zsh > ~/.zfunc/_dirstorage
  dirstorage completion fish > ~/.config/fish/completions/dirstorage.fish`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(c *cobra.Command, args []string) error {
			switch root := c.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(e.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(e.Stdout)
			case "fish":
				return root.GenFishCompletion(e.Stdout, true)
			}
			return usage("%q: want bash, zsh or fish", args[0])
		},
	}
}
