package cli

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// The variables that stand for arguments which are left out. repositoryVariable is also the setting
// backup-repository of a server.
const (
	homeVariable       = config.HomeVariable
	repositoryVariable = "DIRSTORAGE_BACKUP_REPOSITORY"
)

// environmentHelp is told in the help of the program.
const environmentHelp = `HOME and REPO may be left out of the arguments where the variables DIRSTORAGE_HOME and
DIRSTORAGE_BACKUP_REPOSITORY have them. Arguments that are given count first: a variable
fills the place of one missing argument, or of an optional REPO. A HOME that only a
variable or a file names is never made where nothing is. NO_COLOR turns colours off, and PAGER names the program that shows long lists.`

// useEnvironment has the variables fill in for arguments of a command, and of those below it.
func (e *env) useEnvironment(c *cobra.Command) {
	for _, sub := range c.Commands() {
		e.useEnvironment(sub)
	}
	form := argumentForms(c)[0]
	check, run := c.Args, c.RunE
	takes := strings.Contains(c.Use, " | HOME ") || slices.ContainsFunc(form, func(p positional) bool { return p.variable != "" })
	if check == nil || run == nil || !takes {
		return
	}
	c.Args = func(c *cobra.Command, args []string) error { return check(c, e.complete(c, form, args)) }
	c.RunE = func(c *cobra.Command, args []string) error {
		return e.takenHint(c, form, args, run(c, e.complete(c, form, args)))
	}
}

// positional is an argument in the form of a command.
type positional struct {
	name     string // in the form
	variable string // that may have it; empty: none
	optional bool
}

// argumentForms reads the forms of a command, of which Use is the text.
func argumentForms(c *cobra.Command) []argumentForm {
	forms := []argumentForm{nil}
	words := strings.Fields(c.Use)[1:]
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "|" {
			forms = append(forms, nil)
			continue
		}
		if word == "--" { // the arguments of another program
			break
		}
		if name, ok := strings.CutPrefix(word, "--"); ok {
			if f := c.Flags().Lookup(name); f != nil && f.NoOptDefVal == "" {
				i++ // its value
			}
			continue
		}
		if strings.HasPrefix(word, "{") { // one of several
			for !strings.HasSuffix(word, "}") {
				i++
				word += " " + words[i]
			}
		}
		p := positional{name: strings.TrimSuffix(strings.Trim(word, "[]{}"), "..."), optional: strings.HasPrefix(word, "[")}
		switch p.name {
		case "HOME", "HOME|DIR":
			p.variable = homeVariable
		case "REPO":
			p.variable = repositoryVariable
		}
		last := len(forms) - 1
		forms[last] = append(forms[last], p)
	}
	return forms
}

// complete returns the arguments of a command, with those that are left out.
func (e *env) complete(c *cobra.Command, form argumentForm, args []string) []string {
	home := e.Getenv(homeVariable)
	needed := form.needed()
	switch c.CommandPath() {
	case "dirstorage snapshot run":
		if home != "" && c.ArgsLenAtDash() == 0 {
			return append([]string{home}, args...)
		}
		return args
	case "dirstorage show": // its first argument is a file, HOME, or else an oid
		if home != "" && len(args) > 0 && len(args) < 3 {
			if isOID(args[0]) && !exists(args[0]) {
				return append([]string{home}, args...)
			}
		}
		return args
	case "dirstorage refs":
		if write := c.Flags().Lookup("write-index"); write != nil && write.Changed {
			needed--
		}
	case "dirstorage serve", "dirstorage config": // config.Load looks for it
		return args
	}
	if len(args) == needed-1 {
		if i := slices.IndexFunc(form, func(p positional) bool { return !p.optional && p.variable != "" && e.Getenv(p.variable) != "" }); i >= 0 && i <= len(args) {
			args = slices.Insert(slices.Clone(args), i, e.Getenv(form[i].variable))
		}
	}
	if i := len(args); i >= needed && i < len(form) && form[i].optional && form[i].variable != "" && e.Getenv(form[i].variable) != "" {
		args = append(slices.Clone(args), e.Getenv(form[i].variable))
	}
	return args
}

// exists reports whether there is a file or directory with a name.
func exists(name string) bool {
	dir, base, err := vfs.Split(name)
	if err == nil {
		_, err = dir.Stat(base)
	}
	return err == nil
}

// isOID reports whether a word can be an oid.
func isOID(word string) bool {
	quiet := env{Stderr: io.Discard}
	_, err := quiet.parseOID(word)
	return err == nil
}
