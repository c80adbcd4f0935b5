package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/config"
)

// flagGroup is the annotation of a flag of which a help shows the name only, in the group of that title:
// dirstorage help configuration has its meaning, and the manual shows all flags.
const flagGroup = "group"

// settingGroups are the settings of the server by use.
func settingGroups() []settingGroup {
	return []settingGroup{
		{"Storages", "storage create format class read-only lock-wait snapshot-limit low-space reserve blob-dir backup-repository"},
		{"Clients", "listen announce undo-merge undo-merge-classes invalidation-queue-size invalidation-age transaction-timeout large-transaction-timeout"},
		{"Limits", "max-connections max-message max-transaction max-blob max-queue hello-timeout memory-limit cache-size"},
		{"TLS", "tls-certificate tls-key tls-key-password-file tls-authenticate tls-revoked"},
		{"HTTP and pages", "http-listen http-tls web web-token-file web-allow web-origin"},
		{"Process", "config zeo-conf log-level log-format drain-timeout pid-file"},
	}
}

type settingGroup struct{ title, names string }

// groupSettings has the help of a command show the settings in groups, by name, except common ones.
func groupSettings(c *cobra.Command, common string) {
	shown := make(map[string]bool)
	for _, name := range strings.Fields(common) {
		shown[name] = true
	}
	for _, g := range settingGroups() {
		for _, name := range strings.Fields(g.names) {
			if f := c.Flags().Lookup(name); f != nil && config.IsSetting(f) && !shown[name] {
				f.Annotations = map[string][]string{flagGroup: {g.title}}
			}
		}
	}
}

// writeFlags lists the flags of a command; those in groups by name only.
func writeFlags(b *strings.Builder, all *pflag.FlagSet) {
	shown := pflag.NewFlagSet("", pflag.ContinueOnError)
	groups := make(map[string][]string)
	all.VisitAll(func(f *pflag.Flag) {
		if g := f.Annotations[flagGroup]; len(g) == 1 && !f.Hidden {
			groups[g[0]] = append(groups[g[0]], "--"+f.Name)
			return
		}
		shown.AddFlag(f)
	})
	b.WriteString("\nFlags:\n" + shown.FlagUsagesWrapped(usualColumns))
	if len(groups) == 0 {
		return
	}
	b.WriteString("\nMore flags, explained by dirstorage help configuration:\n")
	for _, g := range settingGroups() {
		if names := groups[g.title]; len(names) > 0 {
			writeHanging(b, "  "+g.title+": ", strings.Join(names, ", "), 6)
		}
	}
}
