package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// count reads the documents and the Go files below a directory, testdata apart.
func count(root string) ([]*text, error) {
	texts := make(map[string]*text)
	named := func(name string) *text {
		if texts[name] == nil {
			texts[name] = &text{name: name}
		}
		return texts[name]
	}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case !d.Type().IsRegular():
			return nil
		case path.Ext(name) == ".md":
			b, err := os.ReadFile(p)
			if err == nil {
				named(name).addMarkdown(name, string(b))
			}
			return err
		case path.Ext(name) == ".go":
			b, err := os.ReadFile(p)
			if err == nil {
				err = addGo(named, name, b)
			}
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("no text in %s: run this in the root of the repository", root)
	}
	var all []*text
	for _, t := range texts {
		if t.words > 0 || len(t.wide) > 0 {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *text) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// addMarkdown counts a document. The words of code are not counted, but its lines are measured. A
// row of a table cannot be wrapped, nor can a link.
func (t *text) addMarkdown(file, doc string) {
	inCode := false
	for i, line := range strings.Split(doc, "\n") {
		start := strings.TrimLeft(line, " ")
		fence := strings.HasPrefix(start, "```")
		if fence {
			inCode = !inCode
		}
		if utf8.RuneCountInString(line) > maxWidth && !strings.HasPrefix(start, "|") && !link(start) {
			t.wide = append(t.wide, place{fmt.Sprintf("%s:%d", file, i+1), line})
		}
		if !inCode && !fence && !strings.HasPrefix(line, "    ") {
			t.add(file, i+1, line)
		}
	}
}

// link reports whether a line is no more than one link, with its sign of a list.
func link(line string) bool {
	line = strings.TrimPrefix(strings.TrimPrefix(line, "- "), "<")
	return strings.HasPrefix(line, "[") && strings.Count(line, "](") == 1 && strings.HasSuffix(strings.TrimRight(line, ".,;"), ")") ||
		strings.HasPrefix(line, "http") && !strings.Contains(line, " ")
}

// testKind is in the name of the comments of a package's tests.
const testKind = " test"

// addGo counts the comments of a Go file and, those of tests apart, its literals that are sentences:
// texts of help, and messages.
func addGo(named func(string) *text, name string, code []byte) error {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, code, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		return err
	}
	pkg, test := path.Dir(name), strings.HasSuffix(name, "_test.go")
	if test {
		pkg += testKind
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			if !strings.HasPrefix(c.Text, "//go:") {
				named(pkg+" comments").add(name, fset.Position(c.Pos()).Line, strings.TrimPrefix(c.Text, "//"))
			}
		}
	}
	if test { // its literals are data
		return nil
	}
	help, tags := make(map[ast.Node]bool), make(map[ast.Node]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field:
			if n.Tag != nil {
				tags[n.Tag] = true
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && slices.Contains([]string{"Short", "Long", "Example", "Help"}, key.Name) {
				help[n.Value] = true
			}
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && (strings.HasSuffix(sel.Sel.Name, "Var") || strings.HasSuffix(sel.Sel.Name, "VarP")) {
				for _, arg := range n.Args {
					help[arg] = true
				}
			}
		case *ast.BinaryExpr:
			help[n.X], help[n.Y] = help[n], help[n]
		case *ast.BasicLit:
			if n.Kind != token.STRING || tags[n] {
				return true
			}
			value, err := strconv.Unquote(n.Value)
			if err != nil || !strings.Contains(strings.TrimSpace(value), " ") || strings.Contains(value, `\b`) {
				return true // not a sentence
			}
			kind := " messages"
			if help[n] {
				kind = " help"
			}
			named(pkg+kind).add(name, fset.Position(n.Pos()).Line, value)
		}
		return true
	})
	return nil
}
