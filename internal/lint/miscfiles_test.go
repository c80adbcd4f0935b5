package lint

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var miscFile = regexp.MustCompile(`^misc/[\w.-]+$`)

// undocumentedFiles returns the names of files in misc that the sources have, and the document does not.
func undocumentedFiles(sources []source, doc string) (missing []finding, names int) {
	seen := make(map[string]bool)
	for _, s := range sources {
		if s.test() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			name, err := strconv.Unquote(lit.Value)
			if err != nil || !miscFile.MatchString(name) || seen[name] {
				return true
			}
			seen[name] = true
			if !strings.HasSuffix(name, ".new") && !strings.Contains(doc, "`"+name) {
				missing = append(missing, s.at(lit, name))
			}
			return true
		})
	}
	return missing, len(seen)
}

// TestFilesOfMiscAreDocumented looks for each file of misc in docs/format.md.
func TestFilesOfMiscAreDocumented(t *testing.T) {
	t.Parallel()
	fake := parse(t, "fake.go", "package fake\nvar a, b, c = \"misc/known\", \"misc/unknown\", \"misc/aside.new\"\n")
	if missing, names := undocumentedFiles([]source{fake}, "`misc/known`"); len(missing) != 1 || names != 3 || missing[0].text != "misc/unknown" {
		t.Errorf("of three names one is not documented: %v, %d", missing, names)
	}
	doc, err := os.ReadFile(filepath.Join(root, "docs", "format.md"))
	if err != nil {
		t.Fatal(err)
	}
	missing, names := undocumentedFiles(project(t), string(doc))
	for _, f := range missing {
		t.Errorf("docs/format.md does not name %s", f)
	}
	if names < 20 {
		t.Errorf("%d names of files in misc, want at least 20", names)
	}
}
