package settings

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
)

// Render returns the settings as a new file, with a comment on each option. To
// change a file that exists, use [Update], which keeps the text that others wrote there.
func (s *Settings) Render() []byte {
	var b bytes.Buffer
	b.WriteString("# The settings of this storage. They are read when it is opened.\n")
	section := ""
	for _, fd := range fields() {
		if fd.section != section {
			section = fd.section
			fmt.Fprintf(&b, "\n[%s]\n", section)
		}
		for line := range strings.Lines(fd.comment + "\n") {
			b.WriteString("# " + line)
		}
		fmt.Fprintf(&b, "%s: %s\n", fd.option, escape(text(fd.at(s))))
	}
	fmt.Fprintf(&b, "\n[%s]\n# Classes of which pack keeps old revisions longer, one a line:\n# module.Class: forever\n# module.Class: extra DAYS\n", keepClass)
	for _, class := range slices.Sorted(maps.Keys(s.KeepClass)) {
		fmt.Fprintf(&b, "%s: %s\n", class, escape(s.KeepClass[class]))
	}
	return b.Bytes()
}

// text returns the value that at points to as the file has it.
func text(at any) string {
	switch at := at.(type) {
	case *layout.Format:
		return at.String()
	case *bool:
		if *at {
			return "1"
		}
		return "0"
	case *int:
		return strconv.Itoa(*at)
	case *time.Duration:
		return strconv.FormatInt(int64(*at/time.Second), 10)
	case *string:
		return *at
	}
	return ""
}

// escape returns a value as the file has it: a percent sign twice, and further
// lines indented.
func escape(value string) string {
	return strings.ReplaceAll(strings.ReplaceAll(value, "%", "%%"), "\n", "\n  ")
}

// Update returns a file like data in which an option has another value, and
// everything else, comments and unknown options too, is as it was. An option, or
// a section, that is not there yet is added. The value is meant literally, it is
// not interpolated, and has one line. An error is an *Error, or about a section,
// option or value that the file could not hold.
func Update(data []byte, section, option, value string) ([]byte, error) {
	f, err := parseINI(data, "settings")
	if err != nil {
		return nil, err
	}
	if err := writable(section, option, value); err != nil {
		return nil, err
	}
	lines := f.lines
	line := option + ": " + escape(value) + f.lineEnd()
	switch s := f.find(section); {
	case s == nil:
		header := "[" + section + "]" + f.lineEnd()
		if len(lines) > 0 {
			header = f.lineEnd() + header
		}
		lines = append(endLast(lines, f.lineEnd()), header, line)
	case s.find(option) == nil:
		lines = slices.Concat(endLast(lines[:s.end], f.lineEnd()), []string{s.indent(lines) + line}, lines[s.end:])
	default:
		o := s.find(option)
		comments := slices.DeleteFunc(slices.Clone(lines[o.first+1:o.end]), func(l string) bool { return !isComment(l) })
		lines = slices.Concat(lines[:o.first], []string{replaceValue(lines[o.first], value, f.lineEnd())}, comments, lines[o.end:])
	}
	out := []byte(strings.Join(lines, ""))
	if err := holds(out, section, option, value); err != nil {
		return nil, err
	}
	return out, nil
}

// writable refuses text that can't stand in a file.
func writable(section, option, value string) error {
	for _, p := range []struct{ what, text string }{{"section", section}, {"option", option}, {"value", value}} {
		if strings.ContainsAny(p.text, "\r\n") || strings.TrimFunc(p.text, isSpace) != p.text {
			return fmt.Errorf("%s %q: it must not have line ends, or space around it", p.what, p.text)
		}
	}
	if section == "" || option == "" || strings.ContainsAny(option, "=:") || strings.ContainsAny(option[:1], "#;[") {
		return fmt.Errorf("[%s] %s: not the name of an option", section, option)
	}
	return nil
}

// replaceValue changes the value on the first line of an option and leaves its
// name, its sign and the space around as they are.
func replaceValue(line, value, lineEnd string) string {
	sign := strings.IndexAny(line, "=:") + 1
	rest := strings.TrimRightFunc(line[sign:], isSpace)
	space := rest[:len(rest)-len(strings.TrimLeftFunc(rest, isSpace))]
	if rest == "" {
		space = " "
	}
	return line[:sign] + space + escape(value) + lineEnd
}

// indent returns the space before the options of a section, so that a new one
// does not continue another's value and is not taken for the end of one.
func (s *section) indent(lines []string) string {
	if len(s.options) == 0 {
		return ""
	}
	line := lines[s.options[len(s.options)-1].first]
	return line[:len(line)-len(strings.TrimLeftFunc(line, isSpace))]
}

// endLast returns a copy of lines of which the last one has a line end.
func endLast(lines []string, lineEnd string) []string {
	lines = slices.Clone(lines)
	if n := len(lines); n > 0 && !strings.HasSuffix(lines[n-1], "\n") && !strings.HasSuffix(lines[n-1], "\r") {
		lines[n-1] += lineEnd
	}
	return lines
}

// lineEnd returns the line end that the file uses.
func (f *ini) lineEnd() string {
	if len(f.lines) > 0 && strings.HasSuffix(f.lines[0], "\r\n") {
		return "\r\n"
	}
	return "\n"
}

func isComment(line string) bool {
	line = strings.TrimLeftFunc(line, isSpace)
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";")
}

// holds makes sure that a changed file has the new value.
func holds(data []byte, section, option, value string) error {
	f, err := parseINI(data, "settings")
	if err != nil {
		return err
	}
	got, ok, err := f.get(section, option)
	if err != nil {
		return err
	}
	if !ok || got != value {
		return fmt.Errorf("[%s] %s: %q can't be written so that it reads the same", section, option, value)
	}
	return nil
}
