package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/zodb"
)

type createCommand struct {
	home   string
	class  string
	format string
	set    []string
	json   bool
}

func newCreate(e *env) *cobra.Command {
	var o createCommand
	c := &cobra.Command{
		Use:        "create HOME",
		SuggestFor: []string{"new", "init", "make"},
		Short:      "Make a new, empty storage",
		Long: `Make a new, empty storage in the directory HOME, which must not exist, or be empty (a
mounted volume, with or without lost+found); the directory above it must exist. It has
no root object and no transaction.`,
		Example: `  dirstorage create /srv/zodb
  dirstorage create --format bushy --set storage.delay_delete=0 /srv/zodb`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.home = args[0]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.format, "format", "", "how files are spread below A: "+formatHelp)
	c.Flags().StringVar(&o.class, "class", string(zodb.ClassFull), "Full, or Minimal: no history, no undo, no blobs")
	c.Flags().StringArrayVar(&o.set, "set", nil, "set an option of config/settings, as `section.option=value`; may be repeated")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// formatHelp is the help on the choice of a format.
const formatHelp = "bundled, bushy, chunky, lawn or flat; if none is given bundled, and chunky for class Minimal"

func (o *createCommand) run(_ context.Context, e *env) error {
	set := make(map[string]string, len(o.set))
	for _, s := range o.set {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return usage("--set %q: want section.option=value", s)
		}
		set[key] = value
	}
	if o.format == "" {
		o.format = engine.DefaultFormat(zodb.Class(o.class))
	}
	if err := createHome(o.home, engine.CreateOptions{Class: zodb.Class(o.class), Format: o.format, Set: set}); err != nil {
		return takenPlace(o.home, err)
	}
	if o.json {
		return e.printJSON(createReport{o.home, o.class, o.format})
	}
	_, err := fmt.Fprintf(e.Stdout, "created %s (%s, %s)\n", o.home, o.class, o.format)
	return err
}

// takenPlace adds the way out to the error of creating a storage in a place that is not vacant.
func takenPlace(home string, err error) error {
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, oerr := openHome(home); oerr == nil {
		name := shellWord(home)
		return hint(err, "nothing was changed: use it as it is (dirstorage serve %s, dirstorage status %s), or give the new one another name", name, name)
	}
	return hint(err, "nothing was changed: give an empty directory, or a name that does not exist yet")
}
