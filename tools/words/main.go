// Command words counts two things in the texts of the repository and fails above their limits:
// clauses in the place of a noun, for each 1,000 words of a text, and lines of Markdown that are
// wider than 100 characters. A text is a document, or the comments, help texts or messages of one
// package, or the comments of its tests. In the root of the repository, this prints a table:
//
//	go run -C tools ./words [-quiet] [-list] [-root DIR] [TEXT...]
//
// Each TEXT is the beginning of the name of a text, such as docs/zeo or internal/cli. -quiet prints
// no more than the texts above a limit. -list also prints every place that was counted. DIR is the
// directory with the texts, .. by default. The exit status is 1 if a text is above a limit.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The limits. A text of a few words may always have fewClauses.
const (
	maxRate    = 2.0 // clauses in 1,000 words, also of all texts together
	fewClauses = 2
	maxWidth   = 100 // of a line of Markdown, in characters
)

// clause is the beginning of a clause in the place of a noun: “what was left” for “leftover files”.
// A relative clause, “the client who”, follows its noun and is none of them.
var clause = regexp.MustCompile(`(?i:\b(what|whatever|whoever|whomever)\b)|(?:^|[.;:(] )(?:Who|who) (?:[a-z]+s|has|can|must|wants?) `)

// text is counted as a whole.
type text struct {
	name    string // of the document, or of the package and the kind of its texts
	words   int
	clauses []place
	wide    []place // lines
}

// place is where something was counted.
type place struct {
	at   string // file:line
	line string
}

// add counts a piece of the text that begins at a line of a file.
func (t *text) add(file string, line int, piece string) {
	for i, l := range strings.Split(piece, "\n") {
		t.words += len(strings.Fields(l))
		for range clause.FindAllString(l, -1) {
			t.clauses = append(t.clauses, place{fmt.Sprintf("%s:%d", file, line+i), strings.TrimSpace(l)})
		}
	}
}

// rate is the number of clauses in 1,000 words.
func (t *text) rate() float64 {
	return 1000 * float64(len(t.clauses)) / float64(max(t.words, 1))
}

// wordy reports whether the text has more clauses than it may have.
func (t *text) wordy() bool { return len(t.clauses) > fewClauses && t.rate() > maxRate }

// over reports whether the text is above a limit.
func (t *text) over() bool { return t.wordy() || len(t.wide) > 0 }

// print writes the row of the text, and its places: all of them, or those of a measure above its
// limit.
func (t *text) print(w io.Writer, list bool) {
	fmt.Fprintf(w, "%-52s %6d %5d %6.1f %5d\n", t.name, t.words, len(t.clauses), t.rate(), len(t.wide))
	show := func(heading string, places []place) {
		for _, p := range places {
			fmt.Fprintf(w, "\t%s: %s: %s\n", p.at, heading, shortened(p.line))
		}
	}
	if list || t.wordy() {
		show("clause", t.clauses)
	}
	show(fmt.Sprintf("over %d characters", maxWidth), t.wide)
}

// shortened is a line that fits on a terminal.
func shortened(line string) string {
	if utf8.RuneCountInString(line) <= maxWidth {
		return line
	}
	return string([]rune(line)[:maxWidth-1]) + "…"
}

func main() {
	quiet := flag.Bool("quiet", false, "print only the texts above a limit")
	list := flag.Bool("list", false, "print each place that was counted")
	root := flag.String("root", "..", "the `DIR` with the texts")
	flag.Parse()
	over, err := run(os.Stdout, *root, *quiet, *list, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(1)
	}
	if over > 0 {
		fmt.Fprintf(os.Stderr, "words: %d texts are above a limit (%.1f clauses in 1,000 words, no line of Markdown over %d characters): name things by nouns, wrap lines\n", over, maxRate, maxWidth)
		os.Exit(1)
	}
}

// run counts the texts below a directory, prints them and returns the number of those above a limit.
func run(w io.Writer, root string, quiet, list bool, only []string) (over int, err error) {
	texts, err := count(root)
	if err != nil {
		return 0, err
	}
	all := &text{name: "all"}
	fmt.Fprintf(w, "%-52s %6s %5s %6s %5s\n", "text", "words", "what", "/1,000", "wide")
	for _, t := range texts {
		if len(only) > 0 && !slices.ContainsFunc(only, func(begin string) bool { return strings.HasPrefix(t.name, begin) }) {
			continue
		}
		all.words += t.words
		all.clauses = append(all.clauses, t.clauses...)
		all.wide = append(all.wide, t.wide...)
		if t.over() {
			over++
		}
		if t.over() || !quiet {
			t.print(w, list)
		}
	}
	fmt.Fprintf(w, "%-52s %6d %5d %6.1f %5d\n", all.name, all.words, len(all.clauses), all.rate(), len(all.wide))
	if len(only) == 0 && len(all.clauses) > fewClauses && all.rate() > maxRate && over == 0 {
		over = 1 // only all together
	}
	return over, nil
}
