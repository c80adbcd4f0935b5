package lint

import (
	"go/ast"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// maxMethods is how many methods an interface of the seams has at most, without those of the
// interfaces that it is put together from: more is more than one job.
const maxMethods = 8

// wideInterfaces finds interfaces of the seams with many methods.
func wideInterfaces(s source) (found []finding) {
	if s.test() || s.pkg != "zodb" && s.pkg != "internal/store" {
		return nil
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if i, ok := spec.Type.(*ast.InterfaceType); ok {
			methods := 0
			for _, f := range i.Methods.List {
				methods += len(f.Names)
			}
			if methods > maxMethods {
				found = append(found, s.at(spec, spec.Name.Name+" has "+strconv.Itoa(methods)+" methods: an interface of a seam has up to "+strconv.Itoa(maxMethods)))
			}
		}
		return true
	})
	return found
}

// choosesStore finds imports of a store by others than the one place that chooses, and the store
// of bundles, which keeps files outside of bundles as the classic one does.
func choosesStore(s source) (found []finding) {
	if s.test() || testOnly(s.pkg) || s.pkg == "internal/store/formats" || s.pkg == "internal/store/bundled" {
		return nil
	}
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		for _, store := range []string{"internal/store/classic", "internal/store/bundled"} {
			if p == module+"/"+store && s.pkg != store {
				found = append(found, s.at(spec, s.pkg+" imports "+store+": internal/store/formats alone chooses by the settings"))
			}
		}
	}
	return found
}

// answersItself finds the steps of an answer that shows a revision as the current one, outside of
// the file that has them in their order.
func answersItself(s source) (found []finding) {
	if s.test() || s.pkg != "internal/zeo" || s.name == "internal/zeo/sight.go" {
		return nil
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			switch sel.Sel.Name {
			case "awaitAnnounced", "overtaken", "lastChange":
				found = append(found, s.at(sel, sel.Sel.Name+" in "+s.name+": sight.show has the order of since, read, await and answer"))
			}
		}
		return true
	})
	return found
}

func TestInterfacesAreNarrow(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, wideInterfaces(s))
	}
}

func TestStoreIsChosenInOnePlace(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, choosesStore(s))
	}
}

func TestOrderOfAnAnswerIsWrittenOnce(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, answersItself(s))
	}
}

func TestBrokenSeamIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, code string
		find             func(source) []finding
		want             int
	}{
		{"wide", "internal/store/a.go", "type X interface { A(); B(); C(); D(); E(); F(); G(); H(); I() }", wideInterfaces, 1},
		{"narrow", "internal/store/a.go", "type X interface { A(); B(); C(); D(); E(); F(); G(); H(); Y; Z }", wideInterfaces, 0},
		{"elsewhere", "internal/cli/a.go", "type X interface { A(); B(); C(); D(); E(); F(); G(); H(); I() }", wideInterfaces, 0},
		{"chosen by the engine", "internal/engine/a.go", `import _ "` + module + `/internal/store/classic"`, choosesStore, 1},
		{"chosen in its place", "internal/store/formats/a.go", `import _ "` + module + `/internal/store/bundled"`, choosesStore, 0},
		{"read and shown", "internal/zeo/history.go", "func f(h *hub) { h.awaitAnnounced() }", answersItself, 1},
		{"the place itself", "internal/zeo/sight.go", "func f(h *hub) { h.awaitAnnounced() }", answersItself, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := tc.find(parse(t, tc.file, "package a\n"+tc.code)); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}

// TestCommandsOfAllTestsHaveATimeout: Go's own ten minutes are too few on a machine that is busy.
func TestCommandsOfAllTestsHaveATimeout(t *testing.T) {
	t.Parallel()
	found := 0
	for _, name := range []string{"README.md", "CONTRIBUTING.md", ".ci/run"} {
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			if !strings.Contains(line, "go test") || !strings.Contains(line, "./...") || strings.Contains(line, "-short") || strings.HasPrefix(line, "step ") {
				continue
			}
			found++
			if !strings.Contains(line, "-timeout ") {
				t.Errorf("%s:%d: all tests without -timeout: %s", name, i+1, line)
			}
		}
	}
	if found < 3 {
		t.Errorf("found %d commands, want those of README, CONTRIBUTING and CI", found)
	}
}
