package layout

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestDocumentHasTheNumbersOfDirectories compares docs/formats.md with the paths of consecutive objects.
func TestDocumentHasTheNumbersOfDirectories(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := strings.Join(strings.Fields(string(text)), " ")
	objects := 0
	for first := path.Dir(Chunky.Path(Pointer(0))); path.Dir(Chunky.Path(Pointer(zodb.OID(objects)))) == first; {
		objects++
	}
	if want := fmt.Sprintf("A directory has the files of up to %d,%03d objects.", objects/1000, objects%1000); !strings.Contains(doc, want) {
		t.Errorf("docs/formats.md does not say %q of chunky", want)
	}
	if levels := strings.Count(Bushy.Path(Pointer(0)), "/"); levels != 8 || !strings.Contains(doc, "a directory for each object, eight levels deep") {
		t.Errorf("docs/formats.md does not say that bushy has %d levels", levels)
	}
}

// TestPathsAreThoseOfTheDocument compares the table of names in docs/format.md with the code.
func TestPathsAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(text), "\n| name | bushy | chunky | lawn | flat |\n")
	rows, _, _ = strings.Cut(rows, "\n\n")
	found := regexp.MustCompile("(?m)^\\| `(\\S+)` \\| `(\\S+)` \\| `(\\S+)` \\| `(\\S+)` \\| (?:`(\\S+)`|as it is) \\|$").FindAllStringSubmatch(rows, -1)
	if len(found) != 5 {
		t.Errorf("%d rows of names, want 5", len(found))
	}
	for _, row := range found {
		n, ok := ParseName(row[1])
		if !ok {
			t.Errorf("%s is not a name", row[1])
			continue
		}
		if row[5] == "" {
			row[5] = row[1]
		}
		for i, f := range Formats() {
			if got := f.Path(n); got != row[2+i] {
				t.Errorf("docs/format.md has %s for %s in %s, the code %s", row[2+i], row[1], f, got)
			}
		}
	}
}
