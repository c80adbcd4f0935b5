package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	markdownWidth  = 100 // of texts, in characters
	markdownMargin = "    "
)

// wideLines returns the numbers of the lines of a text that are wider than texts may be. Tables and
// code cannot be wrapped.
func wideLines(text string) (numbers []int) {
	inCode := false
	for i, line := range strings.Split(text, "\n") {
		start := strings.TrimLeft(line, " ")
		if strings.HasPrefix(start, "```") {
			inCode = !inCode
		}
		if inCode || strings.HasPrefix(start, "|") || strings.HasPrefix(line, markdownMargin) {
			continue
		}
		if utf8.RuneCountInString(line) > markdownWidth {
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

func TestMarkdownIsNarrow(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	pages := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git") {
			if d != nil && d.IsDir() && err == nil {
				return fs.SkipDir
			}
			return err
		}
		if d.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		pages++
		b, err := os.ReadFile(path)
		for _, n := range wideLines(string(b)) {
			t.Errorf("%s:%d has more than %d characters", path, n, markdownWidth)
		}
		return err
	})
	if err != nil || pages < 20 {
		t.Errorf("%d pages, %v", pages, err)
	}
}

func TestWideLinesAreFound(t *testing.T) {
	t.Parallel()
	wide, narrow := strings.Repeat("é", markdownWidth+1), strings.Repeat("é", markdownWidth)
	for text, want := range map[string]int{
		narrow: 0, wide: 1, "- " + wide: 1, "| " + wide: 0, markdownMargin + wide: 0,
		"```\n" + wide + "\n```\n" + wide: 1, "a\n" + wide + "\nb\n" + wide: 2,
	} {
		if got := wideLines(text); len(got) != want {
			t.Errorf("%q: lines %v, want %d", text, got, want)
		}
	}
}
