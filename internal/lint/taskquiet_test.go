package lint

import (
	"go/ast"
	"slices"
	"testing"
)

// loudCalls write a line to the log.
var loudCalls = []string{"phase", "Debug", "Info", "Warn", "Error", "Log"}

// loudTasks finds lines of the log that are written within a step of a task: the worker writes
// them, and a reader of the log may be slow, so that nothing would be flushed meanwhile.
func loudTasks(s source) []finding {
	if s.test() {
		return nil
	}
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "RunTask" {
			return true
		}
		for _, arg := range call.Args {
			step, ok := arg.(*ast.FuncLit)
			if !ok {
				continue
			}
			ast.Inspect(step, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok {
					if sel, ok := c.Fun.(*ast.SelectorExpr); ok && slices.Contains(loudCalls, sel.Sel.Name) {
						found = append(found, s.at(c, sel.Sel.Name+" within a step of a task: the worker waits for whoever reads the log"))
					}
				}
				return true
			})
		}
		return true
	})
	return found
}

func TestTasksAreQuiet(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, loudTasks(s))
	}
}

func TestLoudTaskIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, code string
		want       int
	}{
		{"a phase", `func f() { s.RunTask(ctx, func() (bool, error) { p.phase("x", 0); return true, nil }) }`, 1},
		{"a line", `func f() { s.RunTask(ctx, func() (bool, error) { if a { s.o.Log.Warn("x") }; return true, nil }) }`, 1},
		{"before it", `func f() { p.phase("x", 0); s.RunTask(ctx, func() (bool, error) { return true, nil }) }`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := loudTasks(parse(t, "internal/engine/packing/a.go", "package a\n"+tc.code)); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
