package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/human"
)

// usageErrors makes wrong arguments of a command, and of those below it, exit
// with the status for usage, naming the form that is right.
func (e *env) usageErrors(c *cobra.Command) {
	check := c.Args
	if c.HasSubCommands() {
		check = noSuchCommand
	}
	if check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := errors.Join(emptyArguments(c, args), emptyFlags(c)); err != nil {
				if s, ok := errors.AsType[*status](err); ok && s.code == exitUsage {
					return err
				}
				return usage("%w; usage: %s", err, c.UseLine())
			}
			err := check(c, args)
			if s, ok := errors.AsType[*status](err); err == nil || ok && s.code == exitUsage {
				return err
			}
			return e.argumentsError(c, args) // that of cobra is about numbers
		}
	}
	for _, sub := range c.Commands() {
		e.usageErrors(sub)
	}
}

// foreignArguments is the annotation of a command whose arguments after the first are
// another program's.
const foreignArguments = "foreign arguments"

// emptyArguments refuses an empty argument, as a script passes it for an unset variable: as a name
// it would stand for the working directory.
func emptyArguments(c *cobra.Command, args []string) error {
	if c.Annotations[foreignArguments] != "" {
		args = args[:min(len(args), 1)]
	}
	if i := slices.Index(args, ""); i >= 0 {
		return fmt.Errorf("argument %d is empty; is a variable not set?", i+1)
	}
	return nil
}

// emptyFlags refuses a flag with an empty value, which would be as if the flag were not
// there. Settings of the server may be empty.
func emptyFlags(c *cobra.Command) error {
	var errs []error
	c.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" && !config.IsSetting(f) {
			errs = append(errs, usage("--%s is empty; is a variable not set?", f.Name))
		}
	})
	return errors.Join(errs...)
}

// noSuchCommand is for commands that only have others below them.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(c, args[0])
}

// wantsCommand is run if a command that only has others below it is given none of them. It is
// an error: a script that lost the word would take the status 0 for something done.
func wantsCommand(c *cobra.Command, _ []string) error {
	c.SetOut(c.ErrOrStderr())
	if err := c.Help(); err != nil {
		return err
	}
	return usage("no command is given; %s wants one of those above", c.CommandPath())
}

// unknownCommand names the commands that may have been meant.
func unknownCommand(c *cobra.Command, name string) error {
	err := usage("unknown command %q of %s", name, c.CommandPath())
	names := meant(c, name)
	if len(names) == 0 {
		return hint(err, "%s --help lists the commands", c.CommandPath())
	}
	return hint(err, "did you mean %s?", strings.Join(names, ", or "))
}

// meant returns the commands that a word may stand for. A word that is like one for which a command is
// suggested counts only where no command has such a name: “stat” is status, and not “start”.
func meant(c *cobra.Command, name string) (names []string) {
	var guesses []string
	for _, sub := range c.Commands() {
		if sub.Hidden {
			continue
		}
		like := slices.ContainsFunc(sub.SuggestFor, func(word string) bool { return human.Similar(name, word) })
		switch {
		case human.Similar(name, sub.Name()), slices.Contains(sub.SuggestFor, name):
			names = append(names, sub.CommandPath())
		case like:
			guesses = append(guesses, sub.CommandPath())
		}
		for _, below := range sub.Commands() {
			if below.Name() == name && !below.Hidden {
				names = append(names, below.CommandPath())
			}
		}
	}
	if len(names) == 0 {
		return guesses
	}
	return names
}

// flagError is the error of flags that cannot be parsed. It names the flags that may have
// been meant.
func flagError(c *cobra.Command, err error) error {
	failed := usage("%w; usage: %s", err, c.UseLine())
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return failed
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if name := unknown.GetSpecifiedName(); len(name) > 1 && human.Similar(name, f.Name) {
			names = append(names, "--"+f.Name)
		}
	})
	if len(names) == 0 {
		return hint(failed, "%s --help lists the flags", c.CommandPath())
	}
	return hint(failed, "did you mean %s?", strings.Join(names, ", or "))
}

// newHelp is the command help, which knows when there is nothing to show.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND... | TOPIC]",
		Short: "Help about any command, and topics",
		Long:  "Show the help of a command, a topic, or the list of the commands.\n\n" + topicList(),
		Example: `  dirstorage help backup run
  dirstorage help configuration`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				if args[0] == "commands" {
					return printCommands(c.Root())
				}
				if t, ok := findTopic(args[0]); ok {
					return printTopic(c, t)
				}
			}
			found, rest, err := c.Root().Find(args)
			switch {
			case err != nil:
				return usage("%w", err)
			case len(rest) > 0 && !found.HasParent():
				return unknownHelp(found, rest[0])
			case len(rest) > 0 && found.HasSubCommands():
				return unknownCommand(found, rest[0])
			case len(rest) > 0:
				return usage("%s has no commands below it, and so no help about %q; see %[1]s --help", found.CommandPath(), rest[0])
			}
			return found.Help()
		},
	}
}

// unknownHelp names the topics and commands that may have been meant.
func unknownHelp(root *cobra.Command, word string) error {
	var names []string
	for _, t := range topics() {
		// A mistyped beginning is enough.
		if human.Similar(word, t.name) || len(word) >= 3 && len(word) < len(t.name) && human.Similar(word, t.name[:len(word)]) {
			names = append(names, "dirstorage help "+t.name)
		}
	}
	for _, name := range meant(root, word) {
		names = append(names, "dirstorage help"+strings.TrimPrefix(name, root.Name()))
	}
	err := usage("unknown command or topic %q", word)
	if len(names) == 0 {
		return hint(err, "dirstorage --help lists the commands and the topics")
	}
	return hint(err, "did you mean %s?", strings.Join(names, ", or "))
}
