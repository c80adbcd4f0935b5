package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// tableColumn is a column of a table.
type tableColumn struct {
	head  string
	right bool // numbers, below a head that ends where they end
	// forms are the texts of all rows, one list a form: the longest form first.
	forms [][]string
}

// add adds the texts of a row, one a form.
func (c *tableColumn) add(forms ...string) {
	for len(c.forms) < len(forms) {
		c.forms = append(c.forms, nil)
	}
	for i, text := range forms {
		c.forms[i] = append(c.forms[i], text)
	}
}

func (c *tableColumn) width() int {
	n := columnsOf(c.head)
	if len(c.forms) > 0 {
		for _, text := range c.forms[0] {
			n = max(n, columnsOf(text))
		}
	}
	return n
}

// tableGap is the number of blanks between two columns, and tableIndent those before a text that has no
// room beside the others.
const (
	tableGap    = 2
	tableIndent = 4
)

// table is laid out by the width of a terminal.
type table struct {
	columns []*tableColumn
	// giving are the columns that give way where there is no room, the first one first: each time to its
	// next form, and without one it is left out.
	giving []*tableColumn
}

// lines are those of a table, the head first. width 0: as wide as it gets. On a terminal nothing is cut: a text
// that has no room in its column pushes the rest of its row into the next line, and one that is wider than the
// terminal is broken between its words.
func (t *table) lines(width int) []string {
	shown := make([]*tableColumn, len(t.columns))
	copies := make(map[*tableColumn]*tableColumn, len(shown))
	for i, c := range t.columns {
		one := *c
		shown[i], copies[c] = &one, &one
	}
	widths := func() (list []int, all int) {
		for _, c := range shown {
			list = append(list, c.width())
			all += list[len(list)-1] + tableGap
		}
		return list, all - tableGap
	}
	room, all := widths()
	for _, c := range t.giving {
		if width <= 0 || all <= width {
			break
		}
		if c := copies[c]; len(c.forms) > 1 {
			c.forms = c.forms[1:]
		} else {
			shown = slices.DeleteFunc(shown, func(o *tableColumn) bool { return o == c })
		}
		room, all = widths()
	}
	if width > 0 && all > width {
		narrowWidest(shown, room, width)
	}
	heads := make([]string, len(shown))
	for i, c := range shown {
		heads[i] = c.head
	}
	lines := tableRow(shown, heads, room, width)
	for row := range rowsOf(shown) {
		lines = append(lines, tableRow(shown, cellsOf(shown, row), room, width)...)
	}
	return lines
}

func rowsOf(shown []*tableColumn) int {
	if len(shown) == 0 || len(shown[0].forms) == 0 {
		return 0
	}
	return len(shown[0].forms[0])
}

// cellsOf returns the texts of a row.
func cellsOf(shown []*tableColumn, row int) []string {
	cells := make([]string, len(shown))
	for i, c := range shown {
		cells[i] = c.forms[0][row]
	}
	return cells
}

// mostTried is the number of rows, the first ones, by which a width is chosen.
const mostTried = 200

// narrowWidest takes room from the widest column of texts that has others behind it, as much as makes the fewest
// lines.
func narrowWidest(shown []*tableColumn, room []int, width int) {
	widest := -1
	for i, c := range shown[:len(shown)-1] {
		if !c.right && (widest < 0 || room[i] > room[widest]) {
			widest = i
		}
	}
	if widest < 0 {
		return
	}
	best, fewest := room[widest], 0
	for room[widest] >= columnsOf(shown[widest].head) {
		lines := 0
		for row := range min(rowsOf(shown), mostTried) {
			lines += len(tableRow(shown, cellsOf(shown, row), room, width))
		}
		if fewest == 0 || lines < fewest {
			best, fewest = room[widest], lines
		}
		room[widest]--
	}
	room[widest] = best
}

// tableRow makes the lines of one row.
func tableRow(shown []*tableColumn, cells []string, room []int, width int) (lines []string) {
	line, start := "", 0
	for i, c := range shown {
		text, at := cells[i], start
		if c.right {
			at += max(room[i]-columnsOf(text), 0)
		}
		if width > 0 { // a word that is too long stands further to the left, in a line of its own
			for word := range strings.FieldsSeq(text) {
				at = min(at, max(width-columnsOf(word), tableIndent))
			}
		}
		if i > 0 && columnsOf(line) > at-tableGap {
			lines = append(lines, strings.TrimRight(line, " "))
			line = ""
		}
		line += strings.Repeat(" ", max(at-columnsOf(line), 0))
		for j, part := range wrap(text, width, at, at, false) {
			if j > 0 {
				lines = append(lines, line)
				line = strings.Repeat(" ", at)
			}
			line += part
		}
		start += room[i] + tableGap
	}
	return append(lines, strings.TrimRight(line, " "))
}

// print writes a table for the terminal on Stdout, or as wide as it gets.
func (t *table) print(e *env) error { return printLines(e.Stdout, t.lines(e.outColumns())) }

// printer prints text until a write fails, each line when it ends. On a terminal a line that is too long goes on
// below its beginning.
type printer struct {
	w     io.Writer
	width int    // of the terminal; 0: there is none
	line  string // that has not ended yet
	err   error
}

// printer returns one for Stdout.
func (e *env) printer() *printer { return &printer{w: e.Stdout, width: e.outColumns()} }

func (p *printer) printf(format string, args ...any) {
	text := p.line + fmt.Sprintf(format, args...)
	ended := strings.LastIndexByte(text, '\n') + 1
	p.line = text[ended:]
	if p.err == nil && ended > 0 {
		_, p.err = io.WriteString(p.w, fold(text[:ended], p.width))
	}
}

// fold breaks the lines of a text that are wider than a terminal between words, and indents the rest. The text
// ends with the end of a line. width 0: it stays.
func fold(text string, width int) string {
	if width <= 0 {
		return text
	}
	var b strings.Builder
	for body := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if columnsOf(body) > width {
			words := strings.TrimLeft(body, " ")
			first := len(body) - len(words)
			body = strings.Repeat(" ", first) + strings.Join(wrap(words, width, first, first+2, false), "\n"+strings.Repeat(" ", first+2))
		}
		b.WriteString(body + "\n")
	}
	return b.String()
}
