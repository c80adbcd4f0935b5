package lint

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// proseRates is how many clauses in the place of a noun there may be in 1,000 words of a document, or
// of the documents of a directory; of others clauseRate. Lower a rate when a document was reworded,
// and never raise one.
func proseRates() map[string]int {
	return map[string]int{
		"CHANGELOG.md":         10,
		"CONTRIBUTING.md":      22,
		"docs/architecture.md": 18,
		"docs/cli.md":          11,
		"docs/decisions":       11,
		"docs/format.md":       6,
		"docs/monitoring.md":   9,
		"docs/operation.md":    12,
		"docs/pack.md":         15,
		"docs/performance.md":  5,
		"docs/weaknesses.md":   7,
		"docs/zeo.md":          9,
	}
}

// prose is the text of a document, counted.
type prose struct {
	words  int
	places []string // of clauses
}

// add counts the lines of a document, but for those of code.
func (p *prose) add(name, text string) {
	inCode := false
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimLeft(line, " "), "```") {
			inCode = !inCode
		}
		if inCode || strings.HasPrefix(line, markdownMargin) {
			continue
		}
		p.words += len(strings.Fields(line))
		for range clause.FindAllString(line, -1) {
			p.places = append(p.places, fmt.Sprintf("%s:%d", name, i+1))
		}
	}
}

// over returns the complaint about a document, empty if there is none.
func (p *prose) over(name string, rate int) string {
	n := len(p.places)
	if n <= clauseFew || n*1000 <= rate*p.words {
		return ""
	}
	return fmt.Sprintf("%s has %d clauses with what, whatever or whoever in %d words; at most %d in 1,000. Name some of these by a noun: %s",
		name, n, p.words, rate, strings.Join(p.places, " "))
}

func TestClausesOfProseAreCounted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A file that was lost is named. ", 500)
	for text, complaint := range map[string]bool{
		long: false, strings.Repeat("What is lost is named.\n", clauseFew): false, strings.Repeat("What is lost is named.\n", clauseFew+1): true,
		long + strings.Repeat("\nWhatever was lost is named.", clauseFew+1): false, strings.Repeat("    what\n", 9) + "```\nwhat what what what\n```\n": false,
	} {
		var p prose
		p.add("x.md", text)
		if got := p.over("x.md", clauseRate); (got != "") != complaint {
			t.Errorf("complaint %q about %d places in %d words", got, len(p.places), p.words)
		}
	}
}

// TestDocumentsNameThingsByNouns keeps the documents from growing back into clauses that a reader
// has to resolve.
func TestDocumentsNameThingsByNouns(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	found := make(map[string]*prose)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		document := name
		if strings.HasPrefix(name, "docs/decisions/") {
			document = "docs/decisions"
		}
		if found[document] == nil {
			found[document] = new(prose)
		}
		b, err := os.ReadFile(path)
		found[document].add(name, string(b))
		return err
	})
	if err != nil || len(found) < 15 {
		t.Fatalf("%d documents, %v", len(found), err)
	}
	rates := proseRates()
	for name, p := range found {
		rate, own := rates[name]
		if !own {
			rate = clauseRate
		}
		if complaint := p.over(name, rate); complaint != "" {
			t.Error(complaint)
		}
		if own && p.over(name, rate-2) == "" {
			t.Errorf("%s has %d clauses in %d words: lower its rate in proseRates to %d", name, len(p.places), p.words, len(p.places)*1000/p.words+1)
		}
	}
	for name := range rates {
		if found[name] == nil {
			t.Errorf("%s is not there: take it out of proseRates", name)
		}
	}
}
