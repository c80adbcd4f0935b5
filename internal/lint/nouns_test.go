package lint

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// clause is the beginning of a clause in the place of a noun.
var clause = regexp.MustCompile(`(?i)\b(what|whatever|whoever)\b`)

// clauseRate is how many such clauses there may be in 1,000 words of the comments of a package,
// and clauseFew how many there may always be: a small package has few words.
const (
	clauseRate = 2
	clauseFew  = 3
)

// comments are counted for each package.
type comments struct {
	words  int
	places []finding // of clauses
}

// add counts the comments of a file, unless it is compiled into tests only.
func (c *comments) add(s source) {
	for _, group := range s.file.Comments {
		c.words += len(strings.Fields(group.Text()))
		for _, line := range group.List {
			for _, word := range clause.FindAllString(line.Text, -1) {
				c.places = append(c.places, s.at(line, "“"+word+"”"))
			}
		}
	}
}

// over returns the complaint about a package, empty if there is none.
func (c *comments) over(pkg string) string {
	n := len(c.places)
	if n <= clauseFew || n*1000 <= clauseRate*c.words {
		return ""
	}
	text := fmt.Sprintf("comments of %s have %d clauses with what, whatever or whoever in %d words; at most %d in 1,000. Name some of these by a noun (“the caller”, “leftover files”):", pkg, n, c.words, clauseRate)
	for _, p := range c.places {
		text += "\n\t" + p.String()
	}
	return text
}

func TestClausesAreCounted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		complaint  bool
	}{
		{"nouns", strings.Repeat("// Leftover files are removed by the caller.\n", 40), false},
		{"a few in a small package", strings.Repeat("// What is left is removed.\n", clauseFew), false},
		{"many in a small package", strings.Repeat("// Whoever calls removes them.\n", clauseFew+1), true},
		{"the same in a large package", strings.Repeat("// Whatever is left.\n", clauseFew+1) + strings.Repeat("// Leftover files are removed by the caller.\n", 400), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var c comments
			c.add(parse(t, "internal/x/x.go", tc.text+"package x\n"))
			if got := c.over("internal/x"); (got != "") != tc.complaint {
				t.Errorf("complaint %q, want one: %v", got, tc.complaint)
			}
		})
	}
}

// TestCommentsNameThingsByNouns keeps the comments of each package from growing back into clauses
// that a reader has to resolve.
func TestCommentsNameThingsByNouns(t *testing.T) {
	t.Parallel()
	packages := make(map[string]*comments)
	for _, s := range project(t) {
		if s.test() {
			continue
		}
		if packages[s.pkg] == nil {
			packages[s.pkg] = new(comments)
		}
		packages[s.pkg].add(s)
	}
	for pkg, c := range packages {
		if complaint := c.over(pkg); complaint != "" {
			t.Error(complaint)
		}
	}
}
