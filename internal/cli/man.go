package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newMan(e *env) *cobra.Command {
	var list bool
	c := &cobra.Command{
		Use:   "man [PAGE]",
		Short: "Print a page of the manual",
		Long: `Print a page of the manual, in the language of man: that of a command, that of a
topic, or without a PAGE that of dirstorage. --list prints the names of all pages;
each is also a PAGE.`,
		Example: `  dirstorage man backup-run | man -l -
  for page in $(dirstorage man --list); do
    dirstorage man $page > /usr/local/share/man/man${page##*.}/$page
  done`,
		Args:       cobra.MaximumNArgs(1),
		SuggestFor: []string{"manual"},
		RunE: func(c *cobra.Command, args []string) error {
			pages := manual(c.Root())
			if list {
				if len(args) > 0 {
					return usage("--list cannot be combined with PAGE; leave one out")
				}
				for _, p := range pages {
					fmt.Fprintln(e.Stdout, p.file())
				}
				return nil
			}
			want := "dirstorage"
			if len(args) == 1 {
				want = args[0]
			}
			for _, p := range pages {
				if want == p.file() || want == p.name || "dirstorage-"+want == p.name {
					text, err := p.text()
					if err != nil {
						return err
					}
					_, err = fmt.Fprint(e.Stdout, text)
					return err
				}
			}
			return hint(usage("there is no page %q", want), "dirstorage man --list lists the pages")
		},
	}
	c.Flags().BoolVar(&list, "list", false, "print the names of all pages")
	return c
}

// page is one page of the manual.
type page struct {
	name, section string
	text          func() (string, error)
}

func (p page) file() string { return p.name + "." + p.section }

// manual returns all pages: that of the program, those of its commands and groups of commands, and
// those of the topics.
func manual(root *cobra.Command) []page {
	var pages []page
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		pages = append(pages, page{pageName(c), "1", func() (string, error) { return commandPage(c), nil }})
		for _, sub := range c.Commands() {
			if !sub.Hidden && sub.Name() != "help" {
				each(sub)
			}
		}
	}
	each(root)
	for _, t := range topics() {
		pages = append(pages, page{"dirstorage-" + t.name, t.section, func() (string, error) { return topicPage(t) }})
	}
	return pages
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// commandPage is the page of a command.
func commandPage(c *cobra.Command) string {
	var m manPage
	m.head(pageName(c), "1", strings.ToLower(c.Short[:1])+c.Short[1:])
	m.section("SYNOPSIS")
	if c.HasAvailableSubCommands() {
		m.line(`\fB` + roff(c.CommandPath()) + `\fR \fICOMMAND\fR …`)
	} else {
		m.line(`\fB` + roff(c.CommandPath()) + `\fR` + roff(strings.TrimPrefix(c.UseLine(), c.CommandPath())))
	}
	m.section("DESCRIPTION")
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	m.text(long)
	if c.HasAvailableSubCommands() {
		m.section("COMMANDS")
		for _, sub := range c.Commands() {
			if !sub.Hidden && sub.Name() != "help" {
				m.item(`\fB`+roff(pageName(sub))+`\fR(1)`, sub.Short)
			}
		}
	}
	m.flags(c)
	if c.Example != "" {
		m.section("EXAMPLES")
		m.text(c.Example)
	}
	m.section("EXIT STATUS")
	m.line(`See \fBdirstorage\-exit\-status\fR(7).`)
	m.section("SEE ALSO")
	var others []string
	add := func(name, section string) { others = append(others, `\fB`+roff(name)+`\fR(`+section+`)`) }
	if c.HasParent() {
		add(pageName(c.Parent()), "1")
		for _, sub := range c.Parent().Commands() {
			if c.Parent().HasParent() && sub != c && !sub.Hidden {
				add(pageName(sub), "1")
			}
		}
	}
	for _, t := range topics() {
		add("dirstorage-"+t.name, t.section)
	}
	m.line(strings.Join(others, ", "))
	return m.String()
}

// topicPage is the page of a topic.
func topicPage(t topic) (string, error) {
	text, err := t.text()
	if err != nil {
		return "", err
	}
	var m manPage
	m.head("dirstorage-"+t.name, t.section, t.short)
	m.section("DESCRIPTION")
	m.text(text)
	m.section("SEE ALSO")
	m.line(`\fBdirstorage\fR(1)`)
	return m.String(), nil
}
