package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manPage is a page of the manual, in the language of man.
type manPage struct{ strings.Builder }

// roff escapes a text: hyphens stay hyphens, so that a reader can copy commands.
func roff(s string) string {
	s = strings.ReplaceAll(s, `\`, `\e`)
	return strings.ReplaceAll(s, "-", `\-`)
}

// line adds one line that is escaped already.
func (m *manPage) line(s string) {
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s // it is not a request
	}
	m.WriteString(s + "\n")
}

func (m *manPage) head(name, section, short string) {
	build := buildInfo()
	date, _, _ := strings.Cut(build.Date, "T")
	fmt.Fprintf(m, ".TH %q %q %q %q %q\n", strings.ToUpper(name), section, date, "dirstorage "+build.Version, "dirstorage")
	m.section("NAME")
	m.line(roff(name) + ` \- ` + roff(short))
}

func (m *manPage) section(name string) { fmt.Fprintf(m, ".SH %q\n", name) }

// text adds paragraphs. Lines with two blanks before them are shown as they are, and lines of
// capitals are headings.
func (m *manPage) text(s string) {
	verbatim, gap, first := false, false, true // first: behind a heading, which makes a paragraph itself
	for _, line := range strings.Split(strings.TrimRight(s, "\n"), "\n") {
		indented := strings.HasPrefix(line, "  ")
		if line == "" {
			gap = true
			continue
		}
		if verbatim && !indented {
			m.WriteString(".fi\n.RE\n")
			verbatim = false
			gap = true
		}
		switch {
		case indented && !verbatim:
			if !first {
				m.WriteString(".PP\n")
			}
			m.WriteString(".RS 2\n.nf\n")
			verbatim = true
		case indented && gap:
			m.WriteString("\n")
		case isHeading(line):
			fmt.Fprintf(m, ".SH %q\n", line)
			gap, first = false, true
			continue
		case gap && !first:
			m.WriteString(".PP\n")
		}
		gap, first = false, false
		if verbatim {
			line = line[2:]
		}
		m.line(roff(line))
	}
	if verbatim {
		m.WriteString(".fi\n.RE\n")
	}
}

// isHeading reports whether a line of a text is a heading.
func isHeading(line string) bool {
	return !strings.HasPrefix(line, " ") && line == strings.ToUpper(line) && strings.Trim(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ ") == "" && line != ""
}

// item adds an entry of a list; the term is escaped already.
func (m *manPage) item(term, text string) {
	m.WriteString(".TP\n")
	m.line(term)
	m.line(roff(text))
}

// flags adds the flags of a command, and those that all commands have.
func (m *manPage) flags(c *cobra.Command) {
	list := func(f *pflag.FlagSet) {
		f.VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			name, text := pflag.UnquoteUsage(f)
			term := `\fB\-\-` + roff(f.Name) + `\fR`
			if f.Shorthand != "" {
				term = `\fB\-` + f.Shorthand + `\fR, ` + term
			}
			if name != "" {
				term += ` \fI` + roff(name) + `\fR`
			}
			if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
				text += " (default " + f.DefValue + ")"
			}
			m.item(term, text)
		})
	}
	m.section("OPTIONS")
	list(c.NonInheritedFlags())
	list(c.InheritedFlags())
}
