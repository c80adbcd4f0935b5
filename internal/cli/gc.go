package cli

import "github.com/spf13/cobra"

func newGC(e *env) *cobra.Command {
	o := packCommand{gc: "on", dryRun: true}
	var report bool
	c := &cobra.Command{
		Use:         "gc HOME --report",
		Annotations: interruptible("nothing was changed; run it again, it begins anew"),
		Short:       "List the objects that a pack would remove, by class",
		Long: `List the objects that a pack would remove because nothing refers to them, by class,
with their number and size, and how much old revisions take; and the space that earlier
packs have removed and that is not given back yet: how much pack --reclaim would give
back now, and from when on the rest. It changes nothing; pack removes.`,
		Example: "  dirstorage gc --report /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if !report {
				return usage("--report is missing; give it, or use pack to remove")
			}
			o.home = args[0]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().BoolVar(&report, "report", false, "print the report")
	c.Flags().StringVar(&o.keep, "keep", defaultKeep, "as if a pack kept the history since this `TIME`, or of this many days")
	c.Flags().BoolVar(&o.skipBroken, "skip-broken", false, "go on if objects cannot be read")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}
