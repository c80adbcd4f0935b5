package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// knowPaths are the packages that may know where a database name lies below A and B: stores,
// menders of broken storages, codecs, and estimates, which count the files of stores that do not
// exist yet. Of check it is the view. All others ask a store.
var knowPaths = []string{"internal/layout", "internal/record", "internal/salvage", "internal/estimate", "internal/lint"}

func knowsPaths(s source) bool {
	return s.test() || testOnly(s.pkg) || slices.Contains(knowPaths, s.pkg) || s.pkg == "internal/store" || strings.HasPrefix(s.pkg, "internal/store/") ||
		s.pkg == "internal/check" && (strings.HasSuffix(s.name, "/view.go") || strings.HasSuffix(s.name, "/trees.go") || strings.Contains(s.name, "/check/bundles"))
}

// pathExceptions is how many places of other packages there still are, by package. It may shrink
// and not grow: a new place finds a method of a store instead, or adds one.
var pathExceptions = map[string]int{
	"internal/archive": 2, // a codec: the directories that an archive may have entries in
	"internal/config":  1, // the unit of bytes
}

// databasePaths finds paths of A and B, their makers, and things of the formats of one file for
// each revision alone: pointers, and the names of files that packs put aside.
func databasePaths(s source) []finding {
	if knowsPaths(s) {
		return nil
	}
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, err := strconv.Unquote(lit.Value)
			if err == nil && (text == "A" || text == "B" || strings.HasPrefix(text, "A/") || strings.HasPrefix(text, "B/") || strings.HasSuffix(text, "-deleted")) {
				found = append(found, s.at(lit, fmt.Sprintf("%s in %s: where things lie in A and B the stores know", lit.Value, s.pkg)))
			}
		}
		return true
	})
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.SelectorExpr)
		if ok && slices.Contains([]string{"Path", "Parse", "ParseDeleted", "NextOID", "OlderTransaction"}, call.Sel.Name) && isFormat(call.X) {
			found = append(found, s.at(call, fmt.Sprintf("%s of a format in %s: where things lie in A and B the stores know", call.Sel.Name, s.pkg)))
		}
		return true
	})
	s.uses(module+"/internal/layout", func(n ast.Node, name string) {
		if name == "Pointer" || name == "KindPointer" {
			found = append(found, s.at(n, fmt.Sprintf("layout.%s in %s: that there are pointers the stores know", name, s.pkg)))
		}
	})
	return found
}

// isFormat reports whether an expression is a variable or a field that is called format, or
// makes a layout.Format of something.
func isFormat(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return strings.EqualFold(x.Name, "format")
	case *ast.SelectorExpr:
		return strings.EqualFold(x.Sel.Name, "format")
	case *ast.CallExpr:
		return isFormat(x.Fun)
	}
	return false
}

func TestOnlyStoresKnowWhereThingsLie(t *testing.T) {
	t.Parallel()
	found := make(map[string][]finding)
	for _, s := range project(t) {
		found[s.pkg] = append(found[s.pkg], databasePaths(s)...)
	}
	for pkg, most := range pathExceptions {
		if n := len(found[pkg]); n < most {
			t.Errorf("%s has %d places left that know paths of A and B; write that down instead of %d", pkg, n, most)
		}
	}
	for pkg, list := range found {
		if len(list) > pathExceptions[pkg] {
			t.Errorf("%s has %d places that know paths of A and B, and had %d", pkg, len(list), pathExceptions[pkg])
			report(t, list)
		}
	}
}

func TestDatabasePathIsFound(t *testing.T) {
	t.Parallel()
	const imported = `import "` + module + `/internal/layout"` + "\n"
	for _, tc := range []struct {
		name, file, code string
		want             int
	}{
		{"a path", "internal/cli/a.go", `const x = "A/x/serial"`, 1},
		{"a side", "internal/engine/a.go", `const x = "B"`, 1},
		{"what a pack put aside", "internal/engine/a.go", "func f() { g(`-deleted`) }", 1},
		{"a pointer", "internal/engine/a.go", imported + `var x = layout.Pointer(1)`, 1},
		{"a revision", "internal/engine/a.go", imported + `var x = layout.Revision(1, 2)`, 0},
		{"the path of a name", "internal/cli/a.go", `func f() { use(set.Structure.Format.Path(n)) }`, 1},
		{"the name of a path", "internal/cli/a.go", `func f() { use(layout.Format(text).Parse(p)) }`, 1},
		{"another path", "internal/cli/a.go", `func f() { use(home.Path(p)) }`, 0},
		{"the trees of check", "internal/check/trees.go", `func f() { use(v.format.Path(n)) }`, 0},
		{"a text", "a.go", `const x = "A is a letter"`, 0},
		{"a test", "a_test.go", `const x = "A/x"`, 0},
		{"a store", "internal/store/classic/a.go", `const x = "A/x"`, 0},
		{"the view of check", "internal/check/view.go", `const x = "A/x"`, 0},
		{"the bundles of check", "internal/check/bundles.go", imported + `var x = layout.Pointer(1)`, 0},
		{"the rest of check", "internal/check/a.go", `const x = "A/x"`, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := databasePaths(parse(t, tc.file, "package a\n"+tc.code)); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
