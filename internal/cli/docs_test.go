package cli

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestDocumentNamesEveryCommandAndFlag compares docs/cli.md with the commands.
func TestDocumentNamesEveryCommandAndFlag(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if sub.Hidden {
				continue
			}
			name := strings.TrimPrefix(sub.CommandPath(), "dirstorage ")
			if !sub.HasSubCommands() && !strings.Contains(string(text), "`"+name) {
				t.Errorf("docs/cli.md does not name %s", name)
			}
			if sub.Long == "" || sub.Short == "" {
				t.Errorf("%s has no help", name)
			}
			sub.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if !strings.Contains(string(text), "--"+f.Name) {
					t.Errorf("docs/cli.md does not name --%s of %s", f.Name, name)
				}
			})
			each(sub)
		}
	}
	each(newRoot(&env{Stdout: io.Discard, Stderr: io.Discard}))
}

// TestTestsThatDocumentsNameExist looks for each test and benchmark that a document
// names, and for a test in each row of docs/weaknesses.md that is done.
func TestTestsThatDocumentsNameExist(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "weaknesses.md"))
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			b, rerr := os.ReadFile(path)
			code.Write(b)
			err = rerr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var docs []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "bench/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, found...)
	}
	named := 0
	for _, path := range docs {
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]+)(…?)`).FindAllStringSubmatch(string(doc), -1) {
			named++
			end := "("
			if name[2] != "" { // the beginning of several names
				end = ""
			}
			if !strings.Contains(code.String(), "func "+name[1]+end) {
				t.Errorf("%s: there is no %s", path, name[1])
			}
		}
	}
	if named < 60 {
		t.Errorf("documents name %d tests, want at least 60", named)
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+) \|.*\| (.*) \|$`).FindAllStringSubmatch(string(text), -1)
	if len(rows) != 30 {
		t.Errorf("%d rows, want 30", len(rows))
	}
	for _, r := range rows {
		if later := strings.Contains(r[0], "later issue") && r[2] == "—"; !later && !strings.Contains(r[2], "`") {
			t.Errorf("row %s names no test: %s", r[1], r[2])
		}
	}
}
