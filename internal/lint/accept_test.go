package lint

import (
	"go/ast"
	"strconv"
	"testing"
)

// acceptsItself finds calls of Accept, and HTTP servers whose listener gives its errors
// on: an accept loop that an error ends is found too late.
func acceptsItself(s source) []finding {
	if s.test() || testOnly(s.pkg) || s.pkg == "internal/listen" {
		return nil
	}
	var found []finding
	http := false
	for _, spec := range s.file.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p == "net/http" {
			http = true
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		switch name := sel.Sel.Name; {
		case name == "Accept" || name == "AcceptTCP" || name == "AcceptUnix" || http && (name == "ListenAndServe" || name == "ListenAndServeTLS" || name == "ServeTLS"):
			found = append(found, s.at(sel, name+" in "+s.pkg+": connections are accepted by internal/listen, which survives errors"))
		case http && name == "Serve" && len(call.Args) == 1 && !isCall(call.Args[0], "listen", "Steady"):
			found = append(found, s.at(sel, "Serve in "+s.pkg+" without listen.Steady: the first error that HTTP does not know ends it"))
		}
		return true
	})
	return found
}

// isCall reports whether an expression is a call of a package's function.
func isCall(e ast.Expr, pkg, name string) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg && sel.Sel.Name == name
}

func TestConnectionsAreAcceptedInOnePlace(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, acceptsItself(s))
	}
}

func TestAcceptLoopIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, code string
		want             int
	}{
		{"loop", "internal/zeo/a.go", `func f(l net.Listener) { l.Accept() }`, 1},
		{"HTTP", "internal/ops/a.go", `import "net/http"; func f(s http.Server, l net.Listener) { s.Serve(l) }`, 1},
		{"HTTP that listens", "internal/ops/a.go", `import "net/http"; func f(s http.Server) { s.ListenAndServe() }`, 1},
		{"steady", "internal/ops/a.go", `import "net/http"; func f(s http.Server, l net.Listener) { s.Serve(listen.Steady(l, log)) }`, 0},
		{"no HTTP", "internal/cli/a.go", `func f(s *zeo.Server, l net.Listener) { s.Serve(l) }`, 0},
		{"the place itself", "internal/listen/a.go", `func f(l net.Listener) { l.Accept() }`, 0},
		{"a test", "internal/zeo/a_test.go", `func f(l net.Listener) { l.Accept() }`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := acceptsItself(parse(t, tc.file, "package a\n"+tc.code)); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
