package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/zodb"
)

// argumentForm is one way to give the arguments of a command.
type argumentForm []positional

// needed is how many arguments cannot be left out.
func (f argumentForm) needed() (n int) {
	for _, p := range f {
		if !p.optional {
			n++
		}
	}
	return n
}

// chosenForms are the ways to give the arguments of a command with these flags.
func chosenForms(c *cobra.Command) []argumentForm {
	forms := argumentForms(c)
	if f := c.Flags().Lookup("write-index"); f != nil {
		if f.Changed {
			return forms[1:]
		}
		return forms[:1]
	}
	return forms
}

// argumentsError is the error of too few or too many arguments: the names of those that are missing,
// or the first one too many, and the names for which the others are taken.
func (e *env) argumentsError(c *cobra.Command, args []string) error {
	forms := chosenForms(c)
	fewest, most := forms[0], forms[0]
	for _, f := range forms {
		if f.needed() < fewest.needed() {
			fewest = f
		}
		if len(f) > len(most) {
			most = f
		}
	}
	var text string
	var hints []string
	if len(args) < fewest.needed() {
		var missing []string
		verb, or := " is missing", " or "
		for _, f := range forms {
			names, more := e.missing(f, args)
			missing = append(missing, strings.Join(names, " and "))
			if verb = " is missing"; len(names) > 1 { // that of the last form, which is beside it
				verb, or = " are missing", ", or "
			}
			for _, h := range more {
				if !slices.Contains(hints, h) {
					hints = append(hints, h)
				}
			}
		}
		text = strings.Join(missing, or) + verb
	} else {
		text = fmt.Sprintf("%q is one argument too many", args[min(len(most), len(args)-1)])
	}
	for _, t := range e.taken(most, args) {
		text += "; " + t
	}
	err := usage("%s; usage: %s", text, c.UseLine())
	if len(hints) == 0 {
		return err
	}
	return hint(err, "%s", strings.Join(hints, "; "))
}

// missing names the arguments that neither args nor the environment give, and the variables that
// could.
func (e *env) missing(f argumentForm, args []string) (names, hints []string) {
	left := len(args)
	for _, p := range f {
		switch {
		case p.optional || p.variable != "" && e.Getenv(p.variable) != "":
		case left > 0:
			left--
		default:
			names = append(names, p.name)
			if p.variable != "" {
				hints = append(hints, "the variable "+p.variable+" can give "+p.name)
			}
		}
	}
	return names, hints
}

// taken tells the name for which each argument is taken. Variables stand for arguments that have to
// be there if there are too few.
func (e *env) taken(f argumentForm, args []string) (said []string) {
	few := len(args) < f.needed()
	for _, p := range f {
		switch {
		case few && !p.optional && p.variable != "" && e.Getenv(p.variable) != "":
			said = append(said, fmt.Sprintf("%s is %q, of %s", p.name, e.Getenv(p.variable), p.variable))
		case len(args) > 0:
			said = append(said, fmt.Sprintf("%q is taken for %s", args[0], p.name))
			args = args[1:]
		}
	}
	return said
}

// takenHint adds to an error of a command that its only argument was taken for one that a variable
// has, too: the other argument, which may be left out, may have been meant.
func (e *env) takenHint(c *cobra.Command, form argumentForm, args []string, err error) error {
	if _, hinted := errors.AsType[*hinted](err); hinted || !errors.Is(err, zodb.ErrNotAStorage) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(args) != form.needed() || len(args) == 0 || len(form) <= len(args) {
		return err
	}
	first, second := form[0], form[len(args)]
	if first.variable == "" || e.Getenv(first.variable) == "" {
		return err
	}
	return hint(err, "%q is taken for %s, as an argument counts before %s; to give %s, give both: %s %s %s",
		args[0], first.name, first.variable, second.name, c.CommandPath(), shellWord(e.Getenv(first.variable)), shellWord(args[0]))
}
