package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// packFiles is where the files of a pack in misc/ are named, and packNames are their names: another
// place that touched them could take away the guard that a plan needs.
const (
	packFiles = "internal/pack"
	packNames = "misc/pack"
)

// namedPackFiles finds names of a pack's files outside of the package that they belong to.
func namedPackFiles(s source) []finding {
	if s.test() || s.pkg == packFiles || s.pkg == "internal/lint" {
		return nil
	}
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		if text, err := strconv.Unquote(lit.Value); err == nil && (text == packNames || strings.HasPrefix(text, packNames+"-")) {
			found = append(found, s.at(lit, fmt.Sprintf("%s in %s: only %s touches the files of a pack", lit.Value, s.pkg, packFiles)))
		}
		return true
	})
	return found
}

func TestOnlyPackTouchesItsFiles(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, namedPackFiles(s))
	}
}

func TestNamedPackFileIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, code string
		want             int
	}{
		{"the plan", "a.go", `const x = "misc/pack"`, 1},
		{"what is spared", "internal/cli/a.go", "func f() { g(`misc/pack-spared`) }", 1},
		{"another file", "a.go", `const x = "misc/counts"`, 0},
		{"a text about it", "a.go", `const x = "misc/packed lunch"`, 0},
		{"a test", "a_test.go", `const x = "misc/pack"`, 0},
		{"its own package", "internal/pack/a.go", `const x = "misc/pack"`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := namedPackFiles(parse(t, tc.file, "package a\n"+tc.code)); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
