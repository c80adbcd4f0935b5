package config

import (
	"fmt"
	"regexp"
	"strings"
)

// section is a section of a file in ZConfig's syntax; the file itself is one too.
type section struct {
	kind, name string // lower case, as ZConfig has them
	line       int
	keys       []zkey
	sections   []*section
	imports    []int // lines of %import; of the file only
}

// zkey is a line KEY VALUE; the key is in lower case.
type zkey struct {
	key, value string
	line       int
}

// maxDepth bounds how deep sections may be in each other.
const maxDepth = 20

var (
	sectionStart = regexp.MustCompile(`^<([^\s<>/()]+)(?:\s+([^\s<>()]+?))?\s*(/?)>$`)
	defineLine   = regexp.MustCompile(`^%define\s+([A-Za-z_][A-Za-z0-9_]*)(?:\s+(.*))?$`)
	// reference is $$, $NAME, ${NAME}, or $(NAME) from the environment; any other use of $ is an
	// error.
	reference = regexp.MustCompile(`\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\}|\(([A-Za-z_][A-Za-z0-9_]*)\)|)`)
)

// zconfigParser reads one file.
type zconfigParser struct {
	path    string
	getenv  func(string) string
	defines map[string]string
	line    int
	open    []*section // the innermost last
}

// parseZConfig reads a file in ZConfig's syntax. Its errors are [*Error].
func parseZConfig(path, text string, getenv func(string) string) (*section, error) {
	p := &zconfigParser{path: path, getenv: getenv, defines: make(map[string]string), open: []*section{{}}}
	for line := range strings.SplitSeq(text, "\n") {
		p.line++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.read(line); err != nil {
			return nil, err
		}
	}
	if s := p.open[len(p.open)-1]; len(p.open) > 1 {
		p.line = s.line
		return nil, p.fail("<"+s.kind+"> has no end", "add </"+s.kind+">")
	}
	return p.open[0], nil
}

func (p *zconfigParser) fail(what, do string) error {
	return &Error{Where: fmt.Sprintf("%s:%d", p.path, p.line), What: what, Do: do}
}

func (p *zconfigParser) read(line string) error {
	inner := p.open[len(p.open)-1]
	switch {
	case strings.HasPrefix(line, "</"):
		kind := strings.ToLower(strings.TrimSpace(strings.TrimSuffix(line[2:], ">")))
		if len(p.open) == 1 || inner.kind != kind || !strings.HasSuffix(line, ">") {
			return p.fail(line+" ends no section that is open", "let each </…> end the last section that was begun")
		}
		p.open = p.open[:len(p.open)-1]
	case line[0] == '<':
		m := sectionStart.FindStringSubmatch(line)
		if m == nil {
			return p.fail(line+" is not a section", "want <type> or <type name>")
		}
		s := &section{kind: strings.ToLower(m[1]), name: strings.ToLower(m[2]), line: p.line}
		inner.sections = append(inner.sections, s)
		if m[3] == "" {
			p.open = append(p.open, s)
		}
		if len(p.open) > maxDepth {
			return p.fail("too many sections in each other", "")
		}
	case line[0] == '%':
		return p.directive(line)
	default:
		key, value := line, ""
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			key, value = line[:i], strings.TrimSpace(line[i:])
		}
		value, err := p.expand(value)
		if err != nil {
			return err
		}
		inner.keys = append(inner.keys, zkey{strings.ToLower(key), value, p.line})
	}
	return nil
}

func (p *zconfigParser) directive(line string) error {
	switch word := strings.Fields(line)[0]; word {
	case "%define":
		m := defineLine.FindStringSubmatch(line)
		if m == nil {
			return p.fail(line+" defines nothing", "want %define name value")
		}
		name := strings.ToLower(m[1])
		value, err := p.expand(strings.TrimSpace(m[2]))
		if err != nil {
			return err
		}
		if old, ok := p.defines[name]; ok && old != value {
			return p.fail("$"+name+" is defined twice, as "+old+" and as "+value, "leave one of them out")
		}
		p.defines[name] = value
	case "%import":
		// Python's components; the sections that they bring are judged where they are.
		p.open[0].imports = append(p.open[0].imports, p.line)
	case "%include":
		return p.fail("%include is not supported", "put the included text into the file itself")
	default:
		return p.fail(word+" is not a directive", "ZConfig has %define, %import and %include")
	}
	return nil
}

// expand puts the values of names into a text.
func (p *zconfigParser) expand(text string) (string, error) {
	var failed error
	text = reference.ReplaceAllStringFunc(text, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		name := strings.ToLower(m[1] + m[2])
		switch value, ok := p.defines[name]; {
		case ref == "$$":
			return "$"
		case m[3] != "":
			if value = p.getenv(m[3]); value == "" && failed == nil {
				failed = p.fail(ref+": the environment has no "+m[3], "set it")
			}
			return value
		case ok:
			return value
		case failed == nil && ref == "$":
			failed = p.fail("a $ stands alone in "+text, "write $$ for a $")
		case failed == nil:
			failed = p.fail(ref+" is not defined", "add %define "+name+" VALUE above it, or write $$ for a $")
		}
		return ""
	})
	return text, failed
}
