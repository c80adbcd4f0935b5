package lint

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// countedThings finds a number before a name in the plural, in a format of a message.
var countedThings = regexp.MustCompile(`%[-+0-9]*[sd] (?:(?:more|other|further|old|new|open|committed|commit) )?(?:transactions|records|objects|revisions|files|backups|warnings|notes|faults|members|bundles|findings|inodes|places|directories|connections|conflicts|days|entries|blobs|parts|references|classes|chains|certificates|clients|fields|lines|frames|storages)\b`)

// noPluralRooms have messages for those who test the project only, or, like zodb, may not import internal/human.
var noPluralRooms = []string{"zodb", "internal/engine/enginetest", "internal/hometest", "internal/loadtest", "internal/powercut", "internal/store/storetest"}

// plurals finds messages that say “1 files”.
func plurals(s source) []finding {
	if s.test() || slices.Contains(noPluralRooms, s.pkg) || strings.HasPrefix(s.pkg, "tools") {
		return nil
	}
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		for _, m := range countedThings.FindAllString(lit.Value, -1) {
			found = append(found, s.at(lit, "“"+m+"” also says “1 …s”: human.Number and human.Plural know the singular"))
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
		{"with a verb", "internal/cli/a.go", `var x = "%d files are damaged"`, 1},
		{"in a column", "internal/cli/a.go", `var x = "%5s objects"`, 1},
		{"with a word between", "internal/cli/a.go", `var x = "%d more lines, %s old revisions"`, 2},
		{"the helper", "internal/cli/a.go", `var x = "read %s"`, 0},
		{"any package", "internal/zeo/a.go", `var x = "read %d files"`, 1},
		{"one for tests", "internal/powercut/a.go", `var x = "read %d files"`, 0},
		{"a tool", "tools/house/a.go", `var x = "read %d files"`, 0},
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
