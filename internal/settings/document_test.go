package settings

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
)

// TestDefaultsAreThoseOfTheDocument compares the options of a new home with the table of docs/format.md,
// both ways.
func TestDefaultsAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(doc), "| section | option | new home | meaning |\n")
	if !ok {
		t.Fatal("docs/format.md has no table of options")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	documented := make(map[string]string)
	for _, row := range regexp.MustCompile(`(?m)^\| (\w+) \| ([\w, ]+) \| (.*?) ?\| .* \|$`).FindAllStringSubmatch(table, -1) {
		for option := range strings.SplitSeq(row[2], ", ") {
			documented[row[1]+"."+option] = row[3]
		}
	}
	s := Default("", layout.Bundled)
	for _, f := range fields() {
		name := f.section + "." + f.option
		want := text(f.at(s))
		if name == "structure.format" { // --format of create
			want = ""
		}
		got, ok := documented[name]
		if !ok || got != want {
			t.Errorf("docs/format.md has %q for %s (%v), a new home %q", got, name, ok, want)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/format.md has %s, and config/settings does not", name)
	}
}
