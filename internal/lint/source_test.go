package lint

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/dirstorage/dirstorage"

// root is the repository, seen from this package's directory.
const root = "../.."

// source is one Go file of the project.
type source struct {
	name string // slash-separated, relative to the repository
	pkg  string // directory of name; "." is the module's root
	file *ast.File
	fset *token.FileSet
}

// finding is one breach of a rule.
type finding struct {
	at   token.Position
	text string
}

func (f finding) String() string { return f.at.String() + ": " + f.text }

// at makes a finding.
func (s source) at(n ast.Node, text string) finding {
	return finding{at: s.fset.Position(n.Pos()), text: text}
}

// test reports whether the file is compiled into tests only.
func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

// uses yields each use of a name out of an imported package, such as os.Open,
// whether it is called or handed on.
func (s source) uses(importPath string, yield func(n ast.Node, name string)) {
	local := ""
	for _, spec := range s.file.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p == importPath {
			local = path.Base(importPath)
			if spec.Name != nil {
				local = spec.Name.Name
			}
		}
	}
	if local == "" {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
				yield(sel, sel.Sel.Name)
			}
		}
		return true
	})
}

// parse makes a source out of a piece of Go.
func parse(tb testing.TB, name, code string) source {
	tb.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, code, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		tb.Fatal(err)
	}
	return source{name: name, pkg: path.Dir(name), file: file, fset: fset}
}

// project returns every Go file of the module, tests included. They are parsed once for all tests,
// which change nothing in them.
func project(tb testing.TB) []source {
	tb.Helper()
	parsed.Lock()
	defer parsed.Unlock()
	if parsed.all == nil {
		parsed.all = parseAll(tb)
	}
	return slices.Clone(parsed.all)
}

// parsed is the result of project.
var parsed struct {
	sync.Mutex
	all []source
}

func parseAll(tb testing.TB) []source {
	tb.Helper()
	fset := token.NewFileSet()
	var all []source
	walk(tb, func(name string) {
		if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") || strings.HasPrefix(name, "tools/") {
			return // tools/ is a module of its own, and no part of the product
		}
		file, err := parser.ParseFile(fset, filepath.Join(root, filepath.FromSlash(name)), nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, source{name: name, pkg: path.Dir(name), file: file, fset: fset})
	})
	if len(all) < 20 {
		tb.Fatalf("found %d Go files: not the whole project", len(all))
	}
	return all
}

// walk calls f with the name of each regular file of the repository.
func walk(tb testing.TB, f func(name string)) {
	tb.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a scratch file of another package's tests came and went
		}
		if err != nil {
			return err
		}
		if d.Name() == ".git" {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil // of a linked work tree
		}
		rel, err := filepath.Rel(root, p)
		if err == nil && d.Type().IsRegular() {
			f(filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// report fails the test with each finding.
func report(tb testing.TB, findings []finding) {
	tb.Helper()
	for _, f := range findings {
		tb.Error(f)
	}
}
