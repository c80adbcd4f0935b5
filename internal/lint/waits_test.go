package lint

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A test that counts on what a machine gets done within some time fails when the
// machine is busy. Three forms of it can be seen in the syntax:
//
//   - time.Sleep outside of a loop: it waits for luck, where a loop waits for something
//     and looks whether it has come;
//   - a comparison of time.Since with less than a minute: the time that something may take;
//   - context.WithTimeout with less than a minute: what has to come is waited for as long
//     as the limit of the whole test allows.
//
// waits are the exceptions, by file and function, with the reason.
var waits = map[string]string{
	"internal/engine/errors_test.go shortly":                                       "the end of the context is what is wanted",
	"internal/cli/snapshotjobs_test.go TestForgottenSnapshotKeepsItsMoment":        "time stamps have to pass, in a test that a short run leaves out",
	"internal/cli/snapshotjobs_test.go TestJobsThatOverlapLoseNothing":             "how long a job takes, at random",
	"internal/ops/server_test.go TestShutdownWaitsForAnswersAndThenBreaksThemOff":  "the end of the context is what is wanted",
	"internal/powercut/disk.go wait":                                               "a disk that is slow",
	"internal/powercut/round.go startWork":                                         "the moment of the cut, at random",
	"internal/settings/ini_test.go TestReferencesCannotExplode":                    "seconds where it would be years",
	"internal/zeo/limits_test.go TestManyLargeLoadsAtOnceAreNoReasonToClose":       "nobody waits for it: it gives the fault time",
	"internal/zeo/pack_test.go TestServerEndsDuringAPack":                          "the server may be at the end of its time, or not",
	"internal/zeo/stress_test.go delays":                                           "a delay at random",
	"internal/zeo/stress_test.go transaction":                                      "the moment at which a connection is lost, at random",
	"internal/engine/kill_test.go killWriter":                                      "the moment of the kill, at random",
	"internal/engine/pack_test.go TestPackCanBeStopped":                            "removals are slow from there on, nothing is waited for",
	"internal/engine/packbench_test.go BenchmarkPack":                              "a measurement without a pack",
	"internal/engine/storage_test.go Sync":                                         "a disk that is slow",
	"internal/engine/snapshot_test.go TestStorageLeavesTheSnapshotOfAToolThatDied": "nothing is to happen: it gives the fault time",
}

// testCode reports whether a file is compiled into tests only.
func testCode(s source) bool { return s.test() || testOnly(s.pkg) }

// hasty finds those in a file. With testing/synctest time costs nothing.
func hasty(s source) []finding {
	if !testCode(s) || imports(s, "testing/synctest") {
		return nil
	}
	var found []finding
	var visit func(n ast.Node, loop bool, in string)
	add := func(n ast.Node, in, text string) {
		if in != "" {
			in = s.name + " " + in
		}
		found = append(found, finding{at: s.fset.Position(n.Pos()), text: in + ": " + text})
	}
	visit = func(root ast.Node, loop bool, in string) {
		ast.Inspect(root, func(n ast.Node) bool {
			if n == root {
				return true
			}
			switch n := n.(type) {
			case *ast.FuncLit:
				visit(n.Body, false, in)
				return false
			case *ast.ForStmt, *ast.RangeStmt:
				visit(n, true, in)
				return false
			case *ast.BinaryExpr:
				if compares(n.Op) && (calls(n.X, "time", "Since") && brief(n.Y) || calls(n.Y, "time", "Since") && brief(n.X)) {
					add(n, in, "compares the time that something took")
				}
			case *ast.CallExpr:
				switch {
				case calls(n, "time", "Sleep") && !loop:
					add(n, in, "sleeps outside of a loop")
				case calls(n, "context", "WithTimeout") && len(n.Args) == 2 && brief(n.Args[1]):
					add(n, in, "waits for less than a minute")
				}
			}
			return true
		})
	}
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			visit(f.Body, false, f.Name.Name)
		}
	}
	return found
}

func imports(s source, path string) bool {
	return slices.ContainsFunc(s.file.Imports, func(spec *ast.ImportSpec) bool { return spec.Path.Value == strconv.Quote(path) })
}

func compares(op token.Token) bool {
	return op == token.LSS || op == token.LEQ || op == token.GTR || op == token.GEQ
}

// calls reports whether an expression is a call of a function of a package.
func calls(e ast.Expr, pkg, name string) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// brief reports whether a duration is written in seconds or less.
func brief(e ast.Expr) bool {
	short := false
	ast.Inspect(e, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			switch sel.Sel.Name {
			case "Second", "Millisecond", "Microsecond", "Nanosecond":
				short = true
			}
		}
		return true
	})
	return short
}

func TestTestsDoNotCountOnAQuickMachine(t *testing.T) {
	t.Parallel()
	used := make(map[string]bool)
	for _, s := range project(t) {
		for _, f := range hasty(s) {
			where, _, _ := strings.Cut(f.text, ":")
			if used[where] = true; waits[where] == "" {
				t.Error(f)
			}
		}
	}
	for where := range waits {
		if !used[where] {
			t.Errorf("the exception of %s is not needed any more", where)
		}
	}
}

func TestHasteIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, code string
		want             int
	}{
		{"a sleep for luck", "a_test.go", `func f() { time.Sleep(time.Second) }`, 1},
		{"in a goroutine of a loop", "a_test.go", `func f() { for { go func() { time.Sleep(time.Second) }() } }`, 1},
		{"in a loop that looks", "a_test.go", `func f() { for !g() { time.Sleep(time.Second) } }`, 0},
		{"at the end of each round", "a_test.go", `func f() { for ; !g(); time.Sleep(time.Second) { } }`, 0},
		{"in code that is no test", "a.go", `func f() { time.Sleep(time.Second) }`, 0},
		{"how long it took", "a_test.go", `func f() bool { return time.Since(t) > time.Second }`, 1},
		{"how long it goes on", "a_test.go", `func f() { for time.Since(t) < 5*time.Minute { } }`, 0},
		{"how long it took, for the log", "a_test.go", `func f() { t.Log(time.Since(t)) }`, 0},
		{"a few seconds", "a_test.go", `func f() { context.WithTimeout(ctx, 10*time.Second) }`, 1},
		{"minutes", "a_test.go", `func f() { context.WithTimeout(ctx, 5*time.Minute) }`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := hasty(parse(t, tc.file, "package a\nimport (\"context\"; \"time\")\n"+tc.code)); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
