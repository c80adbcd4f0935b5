package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// row is a line of a page: a name, and a text. Without a name it belongs to the row before.
type row struct {
	name, text string
	style      style // of the name
}

type rowList []row

func (rows *rowList) add(name, format string, args ...any) {
	*rows = append(*rows, row{name: name, text: fmt.Sprintf(format, args...)})
}

// style is the number of an attribute of terminals.
type style string

const (
	plain   style = ""
	bold    style = "1"
	inverse style = "7"
	red     style = "1;31"
	green   style = "32"
	yellow  style = "1;33"
)

// paint gives a text a style where colours are shown.
func (e *env) paint(s style, text string) string {
	if s == plain || !e.Color || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

const (
	nameColumn = 19 // where the text of a row begins
	// narrow is the width below which a text begins behind its name, and goes on 2 columns to the right.
	narrow = 60
)

// layoutRows makes the lines of a page. width 0: each row is one line. exact: no line is wider, so that
// words are cut if they have to be.
func layoutRows(e *env, rows []row, width int, exact bool) []string {
	var lines []string
	for _, r := range rows {
		name := r.name
		if name != "" {
			name += ":"
		}
		first, indent := fmt.Sprintf("%-*s ", nameColumn-1, name), nameColumn
		if width > 0 && width < narrow {
			first, indent = name+" ", 2
			if name == "" {
				first = "  "
			}
		}
		for i, text := range wrap(r.text, width, len(first), indent, exact) {
			switch {
			case i > 0:
				lines = append(lines, strings.Repeat(" ", indent)+text)
			case r.style == plain:
				lines = append(lines, strings.TrimRight(first+text, " "))
			default:
				lines = append(lines, e.paint(r.style, name)+first[len(name):]+text)
			}
		}
	}
	return lines
}

// wrap breaks a text between words. The first line begins at column first, the others at column rest.
func wrap(text string, width, first, rest int, exact bool) (lines []string) {
	if width <= 0 {
		return []string{text}
	}
	room := max(width-first, 1)
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if line != "" && columnsOf(line)+1+columnsOf(word) > room {
			lines = append(lines, line)
			line, room = "", max(width-rest, 1)
		} else if line != "" {
			line += " "
		}
		line += word
		for exact && columnsOf(line) > room {
			head := cutColumns(line, room)
			lines = append(lines, head)
			line, room = line[len(head):], max(width-rest, 1)
		}
	}
	return append(lines, line)
}

// columnsOf is the number of columns that a text takes up on a terminal.
func columnsOf(text string) (n int) {
	for _, r := range text {
		n += runeColumns(r)
	}
	return n
}

// runeColumns is 2 for wide characters of East Asia and for most pictures, and 0 for marks that are put
// upon the character before.
func runeColumns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r < 0x1100:
		return 1
	case r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf && r != 0x303f, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// cutColumns returns the beginning of a text that takes up n columns at most, and at least one character.
func cutColumns(text string, n int) string {
	for i, r := range text {
		if n -= runeColumns(r); n < 0 && i > 0 {
			return text[:i]
		}
	}
	return text
}

// padColumns cuts a text to n columns, or fills it up, on the left if right is set.
func padColumns(text string, n int, right bool) string {
	if columnsOf(text) > n {
		text = strings.TrimRight(cutColumns(text, max(n-1, 1)), " ") + "…"
		if n <= 1 {
			text = "…"[:len("…")*max(n, 0)]
		}
	}
	blanks := strings.Repeat(" ", max(n-columnsOf(text), 0))
	if right {
		return blanks + text
	}
	return text + blanks
}

func printLines(w io.Writer, lines []string) error {
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}
