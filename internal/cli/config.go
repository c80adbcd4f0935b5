package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/dist"
	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

type configCommand struct {
	home    string
	json    bool
	sample  bool
	clients bool
}

func newConfig(e *env) *cobra.Command {
	var o configCommand
	c := &cobra.Command{
		Use:   "config [HOME]",
		Short: "Show the settings that serve would have, and where each is from",
		Long: `Show the settings that serve would have if it were called with the same flags, in
this environment: a line for each, with its value and where that is from. Nothing
is started, made or locked, and storages and certificates are not looked at.
Passwords are not shown. Faults of the settings are reported, with exit status 2.
--sample prints a TOML file with all settings instead, and --clients the lines for
the configuration of clients: zope.conf, a buildout, containers, a URI, Python. For
these it reads certificates.
See dirstorage help configuration.`,
		Example: `  dirstorage config --config /etc/dirstorage.toml
  dirstorage config --zeo-conf zeo.conf /srv/zodb
  dirstorage config --clients /srv/zodb`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if o.sample {
				_, err := fmt.Fprint(e.Stdout, dist.Settings)
				return err
			}
			if len(args) == 1 {
				o.home = args[0]
			}
			conf, err := e.loadConfig(c, o.home)
			if err != nil {
				return err
			}
			return o.run(c.Context(), e, conf)
		},
	}
	config.AddFlags(c.Flags())
	groupSettings(c, "config zeo-conf")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON document")
	c.Flags().BoolVar(&o.clients, "clients", false, "print the lines for the configuration of clients")
	c.Flags().BoolVar(&o.sample, "sample", false, "print a TOML file with all settings, for production, with comments")
	return c
}

// loadConfig puts the settings together. A fault in them is an error of usage.
func (e *env) loadConfig(c *cobra.Command, home string) (*config.Config, error) {
	conf, err := config.Load(c.Flags(), home, e.Getenv, vfs.ReadFile)
	if err != nil {
		return nil, &status{code: exitUsage, err: err}
	}
	if e.Environ != nil {
		conf.Warnings = append(conf.Warnings, config.UnknownVariables(e.Environ())...)
	}
	return conf, nil
}

// printClients prints how clients connect to a server with these settings.
func (o *configCommand) printClients(e *env, conf *config.Config) (err error) {
	if o.json {
		return usage("--clients cannot be combined with --json; leave one out")
	}
	if len(conf.Storages) == 0 || len(conf.Listen) == 0 {
		return usage("--clients: the settings have no storage; name HOME, or use --storage")
	}
	g := greeting{conf: conf}
	if g.addresses, err = configuredAddresses(conf.Listen); err != nil {
		return &status{code: exitUsage, err: err}
	}
	if conf.TLS != nil {
		files := *conf.TLS
		files.Clock = e.Now
		if g.server, err = certs.Load(files); err != nil {
			return err
		}
	}
	return writeClients(e.Stdout, g)
}

func (o *configCommand) run(_ context.Context, e *env, conf *config.Config) error {
	if o.clients {
		return o.printClients(e, conf)
	}
	if o.json {
		doc := configReport{conf.Settings(), conf.Warnings}
		if doc.Warnings == nil {
			doc.Warnings = []string{}
		}
		return e.printJSON(doc)
	}
	name, value, source := &tableColumn{head: "SETTING"}, &tableColumn{head: "VALUE"}, &tableColumn{head: "SOURCE"}
	for _, s := range conf.Settings() {
		name.add(s.Name)
		value.add(cmp.Or(s.Value, "-"))
		source.add(s.Source)
	}
	if err := (&table{columns: []*tableColumn{name, value, source}}).print(e); err != nil {
		return err
	}
	for _, text := range conf.Warnings {
		e.note("warning: %s\n", text)
	}
	return nil
}
