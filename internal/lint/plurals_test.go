package lint

import (
	"go/ast"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// countedThings finds a number before a name in the plural, in a format of a message. A verb behind it
// would have to change, too.
var countedThings = regexp.MustCompile(`(?:of the )?%[sd] (?:transactions|records|objects|revisions|files|backups|warnings|notes|faults|members|bundles|findings|inodes|places|directories|connections|conflicts|days|entries)\b(?: [a-z]+)?`)

// verbs follow such a name in messages that are about many things.
var verbs = regexp.MustCompile(` (?:and|are|were|stay|have|had|got|belong|cannot|open)$`)

// plurals finds messages that say “1 files”.
func plurals(s source) []finding {
	if s.test() || s.pkg != "internal/cli" && s.pkg != "internal/doctor" {
		return nil
	}
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		for _, m := range countedThings.FindAllString(lit.Value, -1) {
			if !verbs.MatchString(m) && !strings.HasPrefix(m, "of the ") {
				found = append(found, s.at(lit, "“"+strings.TrimSpace(m)+"” also says “1 …s”: human.Number knows the singular"))
			}
		}
		return true
	})
	return found
}

func TestNumbersOfThingsHaveASingular(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, plurals(s))
	}
}

func TestPluralsAreFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, code string
		want             int
	}{
		{"a count", "internal/cli/a.go", `var x = "read %d files, %s objects"`, 2},
		{"with a verb", "internal/cli/a.go", `var x = "%d files are damaged"`, 0},
		{"the helper", "internal/cli/a.go", `var x = "read %s"`, 0},
		{"another package", "internal/zeo/a.go", `var x = "read %d files"`, 0},
		{"a test", "internal/cli/a_test.go", `var x = "read %d files"`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := plurals(parse(t, tc.file, "package a\n"+tc.code)); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}
