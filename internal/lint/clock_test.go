package lint

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// clockCalls read the clock of the system.
var clockCalls = []string{"Now", "Since", "Until"}

// clockReads finds uses of the system's clock below the commands. The engine's options may name
// time.Now as their default, in one place of the whole package: the test adds the places up.
func clockReads(s source) []finding {
	if s.test() || testOnly(s.pkg) || s.pkg == "internal/cli" || strings.HasPrefix(s.pkg, "cmd/") || strings.HasPrefix(s.pkg, "bench/") {
		return nil
	}
	var found []finding
	s.uses("time", func(n ast.Node, name string) {
		if slices.Contains(clockCalls, name) {
			found = append(found, s.at(n, "time."+name+" in "+s.pkg+": time comes from a clock that was passed in"))
		}
	})
	return found
}

func TestTimeComesFromTheClock(t *testing.T) {
	t.Parallel()
	var engine []finding
	for _, s := range project(t) {
		found := clockReads(s)
		if s.pkg == "internal/engine" {
			engine = append(engine, found...)
			continue
		}
		report(t, found)
	}
	if len(engine) > 1 || len(engine) == 1 && !strings.Contains(engine[0].text, "time.Now ") {
		t.Errorf("the engine reads the clock elsewhere than once in the default of its options: %v", engine)
	}
}

func TestClockReadIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, code string
		want             int
	}{
		{"now", "internal/store/classic/a.go", `var t = time.Now()`, 1},
		{"now handed on", "internal/store/classic/a.go", `var t = time.Now`, 1},
		{"since", "internal/store/classic/a.go", `func f(t time.Time) any { return time.Since(t) }`, 1},
		{"a duration", "internal/store/classic/a.go", `const d = time.Second`, 0},
		{"the command line", "internal/cli/a.go", `var t = time.Now()`, 0},
		{"a test", "internal/store/classic/a_test.go", `var t = time.Now()`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := clockReads(parse(t, tc.file, "package a\nimport \"time\"\n"+tc.code)); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
