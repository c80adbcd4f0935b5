package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// counted makes a repository of one file, and counts it.
func counted(t *testing.T, name, content string) map[string]*text {
	t.Helper()
	root := t.TempDir()
	path := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	texts, err := count(root)
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*text)
	for _, one := range texts {
		byName[one.name] = one
	}
	return byName
}

func TestClausesOfDocumentsAreCounted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A lost file is named.\n", 600)
	for _, tc := range []struct {
		name, doc string
		clauses   int
		over      bool
	}{
		{"nouns", long, 0, false},
		{"a few in a short document", strings.Repeat("What is lost is named.\n", fewClauses), fewClauses, false},
		{"many in a short document", strings.Repeat("whatever is lost\n", fewClauses+1), fewClauses + 1, true},
		{"the same in a long document", strings.Repeat("Whoever is lost\n", fewClauses+1) + long, fewClauses + 1, false},
		{"who as a noun", "Who reads this knows. Others: who has it goes.\n", 2, false},
		{"a relative clause", "the client who reads this; the one who is told\n", 0, false},
		{"code", "    what\n```\nwhat what what\n```\n", 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := counted(t, "docs/x.md", tc.doc+"\n# Title\n")["docs/x.md"]
			if len(got.clauses) != tc.clauses || got.over() != tc.over {
				t.Errorf("%d clauses in %d words, over: %t, %d wide", len(got.clauses), got.words, got.over(), len(got.wide))
			}
		})
	}
}

func TestWideLinesAreFound(t *testing.T) {
	t.Parallel()
	wide, narrow := strings.Repeat("é", maxWidth+1), strings.Repeat("é", maxWidth)
	for _, tc := range []struct {
		doc  string
		want int
	}{
		{narrow, 0}, {wide, 1}, {"- " + wide, 1}, {"    " + wide, 1}, {"```\n" + wide + "\n```\n" + wide, 2},
		{"| " + wide + " |", 0}, {"[text](" + wide + ")", 0}, {"- [text](" + wide + ").", 0},
		{"see [text](" + wide + ")", 1}, {"https://example.org/" + wide, 0}, {"a\n" + wide + "\nb\n" + wide, 2},
	} {
		got := counted(t, "x.md", tc.doc+"\nwords\n")["x.md"]
		if len(got.wide) != tc.want || got.over() != (tc.want > 0) {
			t.Errorf("%.30q: lines %v, want %d", tc.doc, got.wide, tc.want)
		}
	}
}

func TestTextsOfGoAreCounted(t *testing.T) {
	t.Parallel()
	texts := counted(t, "internal/x/x.go", `package x

// What is said here is a comment.
//go:generate what ever
import what "example.org/what ever"

/* Whatever is
said there, too. */
var c = command{Short: "what it is", Long: "two lines:\n" +
	"what they say", Other: "what went wrong"}

func f() {
	flags.StringVar(&x, "what", "", "what a flag does")
	g("what", 'w', "what happened there")
}

type t struct {
	f int `+"`json:\"what ever\"`"+`
}
`)
	for name, want := range map[string]int{"internal/x comments": 2, "internal/x help": 3, "internal/x messages": 2} {
		if got := texts[name]; got == nil || len(got.clauses) != want {
			t.Errorf("%s: %+v, want %d", name, got, want)
		}
	}
	if got := texts["internal/x comments"].clauses; len(got) == 2 && (got[0].at != "internal/x/x.go:3" || got[1].at != "internal/x/x.go:7") {
		t.Errorf("comments at %v", got)
	}
}

func TestCommentsOfTestsAreATextOfTheirOwn(t *testing.T) {
	t.Parallel()
	fine := strings.Repeat("// A lost file is named so.\n", 100)
	for _, tc := range []struct {
		name  string
		count int
		over  bool
	}{{"internal/x/x_test.go", 1, false}, {"internal/x/x_test.go", 4, true}, {"internal/x/x.go", 1, false}, {"internal/x/x.go", 4, true}} {
		texts := counted(t, tc.name, fine+strings.Repeat("// what\n", tc.count)+"package x\n\nvar s = \"what is this\"\n")
		text := texts["internal/x comments"]
		if strings.Contains(tc.name, "_test") {
			text = texts["internal/x test comments"]
		}
		if text == nil || len(text.clauses) != tc.count || text.over() != tc.over {
			t.Errorf("%s, %d: %+v", tc.name, tc.count, text)
		}
		if strings.Contains(tc.name, "_test") && texts["internal/x messages"] != nil {
			t.Error("literals of a test are counted")
		}
	}
}

func TestTextsAboveTheLimitAreToldAndCounted(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, doc := range map[string]string{"a.md": "What, what, what\n", "b.md": "fine\n", "x_test.go": "// What, what.\npackage x\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		quiet bool
		only  []string
		over  int
		print string
	}{
		{false, nil, 1, "b.md"}, {true, nil, 1, "a.md"}, {false, []string{"b"}, 0, "b.md"},
	} {
		var out bytes.Buffer
		over, err := run(&out, root, tc.quiet, false, tc.only)
		if err != nil || over != tc.over || !strings.Contains(out.String(), tc.print) || tc.quiet && strings.Contains(out.String(), "b.md") {
			t.Errorf("%+v: %d, %v\n%s", tc, over, err, &out)
		}
	}
	if _, err := run(new(bytes.Buffer), t.TempDir(), false, false, nil); err == nil {
		t.Error("a directory without a text is no error")
	}
}
