package lint

import (
	"errors"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

// noImports is an importer that finds nothing: names of the package itself are
// resolved without it, and only those matter here.
type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not loaded") }

// changedVariables finds package-level variables that something changes: an
// assignment, to it or into it, ++, an address taken, or a type of package sync
// or sync/atomic, whose methods change it. All files must be of one package.
func changedVariables(files []source) []finding {
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: noImports{}, Error: func(error) {}, FakeImportC: true}
	var parsed []*ast.File
	for _, s := range files {
		parsed = append(parsed, s.file)
	}
	// The error is about the imports that were not loaded, and about files for other platforms.
	pkg, _ := config.Check(files[0].pkg, files[0].fset, parsed, info)
	var found []finding
	for _, s := range files {
		changed := func(x ast.Expr, how string) {
			id := rootIdent(x)
			if id == nil {
				return
			}
			if v, ok := info.Uses[id].(*types.Var); ok && v.Parent() == pkg.Scope() {
				found = append(found, s.at(id, "package-level variable "+id.Name+" is "+how))
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			inspectChange(n, changed)
			return true
		})
		found = append(found, lockedVariables(s)...)
	}
	return found
}

// inspectChange calls changed with the variables that a node changes.
func inspectChange(n ast.Node, changed func(x ast.Expr, how string)) {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			for _, x := range n.Lhs {
				changed(x, "assigned to")
			}
		}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			changed(n.Key, "assigned to")
			changed(n.Value, "assigned to")
		}
	case *ast.IncDecStmt:
		changed(n.X, "counted")
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			changed(n.X, "reached by its address")
		}
	}
}

// rootIdent returns a of a, a.b, a[i], *a and (a).
func rootIdent(x ast.Expr) *ast.Ident {
	for {
		switch y := x.(type) {
		case *ast.Ident:
			return y
		case *ast.SelectorExpr:
			x = y.X
		case *ast.IndexExpr:
			x = y.X
		case *ast.StarExpr:
			x = y.X
		case *ast.ParenExpr:
			x = y.X
		default:
			return nil
		}
	}
}

// lockedVariables finds package-level variables of a type that exists to be changed.
func lockedVariables(s source) []finding {
	var found []finding
	for _, decl := range s.file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.VAR {
			continue
		}
		for _, spec := range group.Specs {
			sel, ok := spec.(*ast.ValueSpec).Type.(*ast.SelectorExpr)
			if !ok {
				continue
			}
			if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
				found = append(found, s.at(spec, "package-level variable of type "+x.Name+"."+sel.Sel.Name))
			}
		}
	}
	return found
}

func TestNoPackageVariableChanges(t *testing.T) {
	t.Parallel()
	packages := make(map[string][]source)
	for _, s := range project(t) {
		if !s.test() {
			packages[s.pkg] = append(packages[s.pkg], s)
		}
	}
	for _, files := range packages {
		report(t, changedVariables(files))
	}
}

func TestChangedVariableIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, code string
		want       string // part of the finding; empty: none
	}{
		{"assigned", `var v int; func f() { v = 1 }`, "v is assigned to"},
		{"map filled", `var v = map[int]int{}; func f() { v[1] = 1 }`, "v is assigned to"},
		{"field set", `var v struct{ a int }; func f() { v.a = 1 }`, "v is assigned to"},
		{"counted", `var v int; func f() { v++ }`, "v is counted"},
		{"address taken", `var v int; func f() *int { return &v }`, "v is reached by its address"},
		{"loop variable", `var v int; func f(s []int) { for v = range s {} }`, "v is assigned to"},
		{"lock", `import "sync"; var v sync.Mutex`, "type sync.Mutex"},
		{"only read", `var v = []int{1}; func f() int { return v[0] }`, ""},
		{"local variable of the same name", `var v int; func f() { v := 2; v = 3; _ = v }`, ""},
		{"imports that can't be loaded", `import "x/y"; var v = y.New(); func f() { w := y.Z; w = 1; _ = v }`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			found := changedVariables([]source{parse(t, "a.go", "package a\n"+tc.code)})
			switch {
			case tc.want == "" && len(found) > 0:
				t.Errorf("found %v, want nothing", found)
			case tc.want != "" && (len(found) != 1 || !strings.Contains(found[0].text, tc.want)):
				t.Errorf("found %v, want %q", found, tc.want)
			}
		})
	}
}
