package lint

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	fenced  = regexp.MustCompile("(?s)```.*?```")
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	linked  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// anchors returns the anchors of the headings of a document.
func anchors(doc string) map[string]bool {
	found, times := make(map[string]bool), make(map[string]int)
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(doc, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(m[1], "$1"))
		if n := times[name]; n > 0 {
			found[fmt.Sprintf("%s-%d", name, n)] = true
		}
		found[name] = true
		times[name]++
	}
	return found
}

// deadLinks returns the links of documents, by their paths, that lead to nothing in the repository.
func deadLinks(docs map[string]string, exists func(name string) bool) (dead []string) {
	for name, doc := range docs {
		for _, m := range linked.FindAllStringSubmatch(fenced.ReplaceAllString(doc, ""), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") || strings.HasPrefix(file, "mailto:") {
				continue
			}
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			to, document := docs[target]
			if !document && !exists(target) || document && anchor != "" && !anchors(to)[anchor] {
				dead = append(dead, name+": "+m[1])
			}
		}
	}
	return dead
}

func TestLinksOfDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	docs := make(map[string]string)
	walk(t, func(name string) {
		if path.Ext(name) != ".md" || strings.Contains("/"+name, "/testdata/") {
			return
		}
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Error(err)
		}
		docs[name] = string(b)
	})
	if len(docs) < 20 {
		t.Errorf("only %d documents", len(docs))
	}
	for _, dead := range deadLinks(docs, func(name string) bool {
		_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
		return err == nil
	}) {
		t.Errorf("this link leads to nothing: %s", dead)
	}
}

func TestDeadLinksAreFound(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]int{
		"[a](#a-b)\n## A `b`\n": 0, "[a](#b)\n## A\n": 1, "[a](#a-1)\n# A\n# A\n": 0, "[a](x.md#there)": 0, "[a](x.md#not)": 1,
		"[a](gone.md)": 1, "[a](other.go)": 0, "[a](https://example.org/x#y)": 0, "```\n[a](gone.md)\n```\n": 0, "## 1. What, then?\n[a](#1-what-then)": 0,
	} {
		docs := map[string]string{"docs/a.md": doc, "docs/x.md": "# There\n"}
		if got := deadLinks(docs, func(name string) bool { return name == "docs/other.go" }); len(got) != want {
			t.Errorf("%q: %v", doc, got)
		}
	}
}
