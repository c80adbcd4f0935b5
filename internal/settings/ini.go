package settings

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// defaultSection is the section whose options are defaults for all others.
const defaultSection = "DEFAULT"

// ini is a file as lines and as options.
type ini struct {
	path     string
	lines    []string // with their line ends
	sections []*section
	defaults *section // also in sections if the file has it
}

// section is one section of a file. The lines of options are half-open ranges.
type section struct {
	name    string
	end     int // line after the last one that is its header or one of its values
	options []*option
}

type option struct {
	name       string
	value      string // as in the file, without interpolation
	first, end int
}

// Error is a fault of a line or an option of a file.
type Error struct {
	Path    string
	Line    int    // from 1; 0 = it is about an option, not about a line
	Section string // may be empty
	Option  string // may be empty
	Reason  string
}

func (e *Error) Error() string {
	s := e.Path
	if e.Line > 0 {
		s += fmt.Sprintf(" line %d", e.Line)
	}
	if e.Section != "" {
		s += ": [" + e.Section + "]"
		if e.Option != "" {
			s += " " + e.Option
		}
	}
	return s + ": " + e.Reason
}

// parseINI reads a file.
func parseINI(data []byte, path string) (*ini, error) {
	f := &ini{path: path, lines: splitLines(string(data)), defaults: &section{name: defaultSection}}
	p := parser{ini: f}
	for i, line := range f.lines {
		if err := p.line(i, line); err != nil {
			return nil, err
		}
	}
	for _, s := range append(f.sections, f.defaults) {
		for _, o := range s.options {
			o.value = strings.TrimRightFunc(o.value, isSpace)
		}
	}
	return f, nil
}

// parser is the state between lines.
type parser struct {
	*ini
	section *section
	option  *option // the one that a deeper line would continue
	indent  int     // of the last line that was not a continuation, in characters
	empty   int     // empty lines since the last line of the value
}

func (p *parser) line(i int, line string) error {
	value := strings.TrimFunc(line, isSpace)
	if strings.HasPrefix(value, "#") || strings.HasPrefix(value, ";") {
		return nil
	}
	if value == "" {
		p.empty++
		return nil
	}
	indent := utf8.RuneCountInString(line[:strings.IndexFunc(line, func(r rune) bool { return !isSpace(r) })])
	if p.option != nil && indent > p.indent {
		p.option.value += strings.Repeat("\n", p.empty+1) + value
		p.option.end, p.section.end, p.empty = i+1, i+1, 0
		return nil
	}
	p.indent, p.empty = indent, 0
	if end := strings.LastIndexByte(value, ']'); value[0] == '[' && end > 1 {
		return p.header(i, value[1:end])
	}
	if p.section == nil {
		return &Error{Path: p.path, Line: i + 1, Reason: "it comes before the first [section]"}
	}
	return p.newOption(i, value)
}

func (p *parser) header(i int, name string) error {
	p.option = nil
	p.section = p.find(name)
	switch {
	case p.section != nil && name != defaultSection:
		return &Error{Path: p.path, Line: i + 1, Section: name, Reason: "the section comes twice"}
	case name == defaultSection && p.section == nil:
		p.section = p.defaults
		p.sections = append(p.sections, p.section)
	case p.section == nil:
		p.section = &section{name: name}
		p.sections = append(p.sections, p.section)
	}
	p.section.end = i + 1
	return nil
}

func (p *parser) newOption(i int, line string) error {
	sign := strings.IndexAny(line, "=:")
	if sign < 0 {
		return &Error{Path: p.path, Line: i + 1, Section: p.section.name, Reason: fmt.Sprintf("%q is not an option: want “name: value”", line)}
	}
	o := &option{
		name:  strings.TrimRightFunc(line[:sign], isSpace),
		value: strings.TrimFunc(line[sign+1:], isSpace),
		first: i, end: i + 1,
	}
	if o.name == "" {
		return &Error{Path: p.path, Line: i + 1, Section: p.section.name, Reason: "the option has no name"}
	}
	if p.section.find(o.name) != nil {
		return &Error{Path: p.path, Line: i + 1, Section: p.section.name, Option: o.name, Reason: "the option comes twice"}
	}
	p.section.options = append(p.section.options, o)
	p.option, p.section.end = o, i+1
	return nil
}

// find returns a section of the file, nil if there is none of that name.
func (f *ini) find(name string) *section {
	i := slices.IndexFunc(f.sections, func(s *section) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return f.sections[i]
}

func (s *section) find(name string) *option {
	i := slices.IndexFunc(s.options, func(o *option) bool { return o.name == name })
	if i < 0 {
		return nil
	}
	return s.options[i]
}

// raw returns the value of an option as the file has it, perhaps in DEFAULT. A
// section that does not exist has no options.
func (f *ini) raw(sectionName, name string) (string, bool) {
	s := f.find(sectionName)
	if s == nil {
		return "", false
	}
	if o := s.find(name); o != nil {
		return o.value, true
	}
	if o := f.defaults.find(name); o != nil {
		return o.value, true
	}
	return "", false
}

// get returns the value of an option after interpolation.
func (f *ini) get(sectionName, name string) (value string, ok bool, err error) {
	raw, ok := f.raw(sectionName, name)
	if !ok {
		return "", false, nil
	}
	p := interpolation{ini: f, section: sectionName}
	if reason := p.add(raw, 1); reason != "" {
		return "", true, &Error{Path: f.path, Section: sectionName, Option: name, Reason: reason}
	}
	return p.out.String(), true, nil
}

const (
	maxDepth = 10 // references to references, as ConfigParser has it
	// Ten levels of references could make any length, or none in any time.
	maxValue      = 1 << 16 // bytes
	maxReferences = 1 << 12
)

// interpolation is the making of one value.
type interpolation struct {
	*ini
	section    string
	out        strings.Builder
	references int
}

// add appends a value with its percent references replaced. It returns the fault, empty if there is
// none.
func (p *interpolation) add(value string, depth int) string {
	if depth > maxDepth {
		return "its references to other options never end"
	}
	for {
		text, rest, found := strings.Cut(value, "%")
		p.out.WriteString(text)
		if p.out.Len() > maxValue || p.references > maxReferences {
			return fmt.Sprintf("the value is longer than %d bytes, or has more references than %d", maxValue, maxReferences)
		}
		if !found {
			return ""
		}
		if after, ok := strings.CutPrefix(rest, "%"); ok {
			p.out.WriteByte('%')
			value = after
			continue
		}
		name, after, ok := reference(rest)
		if !ok {
			return "a “%” must be followed by another “%” or by “(name)s”"
		}
		inner, ok := p.raw(p.section, name)
		if !ok {
			return fmt.Sprintf("it refers to the option %q, which does not exist", name)
		}
		p.references++
		if reason := p.addReferred(inner, depth); reason != "" {
			return reason
		}
		value = after
	}
}

// addReferred appends the value of another option. One without a percent sign is
// not a further level, as in ConfigParser.
func (p *interpolation) addReferred(value string, depth int) string {
	if strings.Contains(value, "%") {
		return p.add(value, depth+1)
	}
	return p.add(value, depth)
}

// reference cuts “(name)s” from the beginning of a text.
func reference(s string) (name, after string, ok bool) {
	s, ok = strings.CutPrefix(s, "(")
	if !ok {
		return "", "", false
	}
	name, after, ok = strings.Cut(s, ")")
	if !ok || name == "" || !strings.HasPrefix(after, "s") {
		return "", "", false
	}
	return name, after[1:], true
}

// splitLines cuts a text after each line end: \n, \r\n or \r, as Python does.
func splitLines(s string) []string {
	var lines []string
	for s != "" {
		end := strings.IndexAny(s, "\r\n")
		switch {
		case end < 0:
			end = len(s)
		case strings.HasPrefix(s[end:], "\r\n"):
			end += 2
		default:
			end++
		}
		lines = append(lines, s[:end])
		s = s[end:]
	}
	return lines
}

// isSpace is Python's str.isspace, which has four more characters than Go's.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
