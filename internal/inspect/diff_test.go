package inspect_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/inspect"
	. "github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

func shown(c *inspect.Comparison) (lines []string) {
	for _, l := range c.Lines {
		lines = append(lines, fmt.Sprintf("%c%d,%d %s", l.Op, l.Old, l.New, l.Text))
	}
	return lines
}

func TestRevisionsAreCompared(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *engine.Storage, b *inspect.Browser) {
		article := func(title, body string) []byte {
			return Object("m", "Article", Dict(Text("id"), Text("news"), Text("body"), Text(body), Text("title"), Text(title)))
		}
		first := store(t, s, news, article("Old", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n"))
		second := store(t, s, news, article("New", "one\ntwo\n3\nfour\nfive\nsix\nseven\neight\nnine\nten\n"))
		third := store(t, s, news, article("New", "one\ntwo\n3\nfour\nfive\nsix\nseven\neight\nnine\nten\n"))
		gone := enginetest.Commit(t, s, enginetest.Change{OID: news})
		c, err := b.Compare(t.Context(), news, first, second)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			" 3,3   'body': (", " 4,4     'one\\n'", " 5,5     'two\\n'", "-6,0     'three\\n'", "+0,6     '3\\n'", " 7,7     'four\\n'", " 8,8     'five\\n'", " 9,9     'six\\n'",
			"@0,0 ", " 12,12     'nine\\n'", " 13,13     'ten\\n'", " 14,14   ),", "-15,0   'title': 'Old',", "+0,15   'title': 'New',", " 16,16 }",
		}
		if diff := cmp.Diff(want, shown(c)); diff != "" || c.Same || c.Cut != "" || c.Problem != "" || c.Old.Serial != first || c.New.Class != "m.Article" {
			t.Errorf("%+v (-want +got):\n%s", c, diff)
		}
		c, err = b.Compare(t.Context(), news, 0, third)
		if err != nil || !c.Same || len(c.Lines) != 0 || c.Old.Serial != second {
			t.Errorf("equal ones: %+v, %v", c, err)
		}
		c, err = b.Compare(t.Context(), news, 0, 0)
		if err != nil || c.New.Serial != gone || c.New.Exists || c.Same || len(c.Lines) != 16 || c.Lines[0].Op != inspect.Removed {
			t.Errorf("deletion: %+v, %v", c, err)
		}
		c, err = b.Compare(t.Context(), news, 0, first)
		if err != nil || c.Old.Serial != 0 || c.Old.Reason == "" || len(c.Lines) != 16 || c.Lines[0].Op != inspect.Added {
			t.Errorf("the first revision: %+v, %v", c, err)
		}
		c, err = b.Compare(t.Context(), 999, 0, 0)
		if err != nil || c.Problem == "" {
			t.Errorf("no object: %+v, %v", c, err)
		}
		broken := store(t, s, news, []byte("garbage"))
		c, err = b.Compare(t.Context(), news, third, broken)
		if err != nil || !strings.Contains(c.Problem, "cannot be compared") || len(c.Lines) != 0 {
			t.Errorf("garbage: %+v, %v", c, err)
		}
	})
}

// TestADifferenceLeadsFromOneTextToTheOther compares random texts, and applies the difference.
func TestADifferenceLeadsFromOneTextToTheOther(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		text := func() (lines []string) {
			for range random.IntN(30) {
				lines = append(lines, string(rune('a'+random.IntN(4))))
			}
			return lines
		}
		a, b := text(), text()
		lines, exact := inspect.Diff(a, b)
		var older, newer []string
		changes := 0
		for _, l := range lines {
			if l.Op != inspect.Added {
				if older = append(older, l.Text); len(older) != l.Old {
					t.Fatalf("%q and %q: old line %d has number %d", a, b, len(older), l.Old)
				}
			}
			if l.Op != inspect.Removed {
				if newer = append(newer, l.Text); len(newer) != l.New {
					t.Fatalf("%q and %q: new line %d has number %d", a, b, len(newer), l.New)
				}
			}
			if l.Op != inspect.Both {
				changes++
			}
		}
		if diff := cmp.Diff([][]string{a, b}, [][]string{older, newer}); diff != "" || !exact {
			t.Fatalf("%q and %q: %v (-want +got):\n%s", a, b, exact, diff)
		}
		if want := len(a) + len(b) - 2*common(a, b); changes != want {
			t.Fatalf("%q and %q: %d changes, the fewest are %d", a, b, changes, want)
		}
	}
}

// common is the length of the longest common subsequence.
func common(a, b []string) int {
	row := make([]int, len(b)+1)
	for _, x := range a {
		diagonal := 0
		for j, y := range b {
			above := row[j+1]
			if x == y {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return row[len(b)]
}

func TestTextsThatDifferInEverythingAreNotMatched(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{})
	many := func(first string) []byte {
		var values []string
		for i := range 3000 {
			values = append(values, Text(fmt.Sprintf("%s %d", first, i)))
		}
		return Object("m", "C", List(values...))
	}
	store(t, s, news, many("a"))
	store(t, s, news, many("b"))
	c, err := browser(t, s, inspect.Options{}).Compare(t.Context(), news, 0, 0)
	if err != nil || !strings.Contains(c.Cut, "not matched") || len(c.Lines) != 6002 {
		t.Errorf("%d lines, %q, %v", len(c.Lines), c.Cut, err)
	}
	store(t, s, news, Object("m", "C", Text(strings.Repeat("x", 2<<20))))
	small := browser(t, s, inspect.Options{Text: 2000})
	c, err = small.Compare(t.Context(), news, 0, zodb.TID(0))
	if err != nil || c.Cut == "" {
		t.Errorf("a long text: %q, %v", c.Cut, err)
	}
}
