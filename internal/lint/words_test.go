package lint

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// placeWords name where the project happened to be written, which nobody who
// reads it has. They are put together here so that this file doesn't hold them.
var placeWords = []string{"/wo" + "rk/", "/ro" + "ot/", "shared" + "/fixtures", "shared" + "/design", "/tmp/" + "bash_jobs"}

// namedPlaces returns the words of that kind in a text. Tests may look beside
// the repository for golden data that is too large to be part of it.
func namedPlaces(name, text string) []string {
	var found []string
	for _, w := range placeWords {
		besides := strings.HasPrefix(w, "shared") && strings.HasSuffix(name, "_test.go")
		if strings.Contains(text, w) && !besides {
			found = append(found, w)
		}
	}
	return found
}

func TestNoTextNamesThePlaceWhereItWasWritten(t *testing.T) {
	t.Parallel()
	texts := 0
	walk(t, func(name string) {
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(b, 0) >= 0 || !utf8.Valid(b) {
			return
		}
		texts++
		for _, w := range namedPlaces(name, string(b)) {
			t.Errorf("%s names %s", name, w)
		}
	})
	if texts < 20 {
		t.Errorf("looked into %d texts: not the whole project", texts)
	}
}

func TestNamedPlaceIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, text string
		want             int
	}{
		{"path of a machine", "docs/a.md", "see /wo" + "rk/main", 1},
		{"path of a machine in a test", "a_test.go", "see /wo" + "rk/main", 1},
		{"golden data beside the repository", "docs/a.md", "from shared" + "/fixtures", 1},
		{"golden data in a test", "a_test.go", "from ../shared" + "/fixtures", 0},
		{"a word like it", "docs/a.md", "two goroutines at work share it", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := namedPlaces(tc.file, tc.text); len(got) != tc.want {
				t.Errorf("found %q, want %d", got, tc.want)
			}
		})
	}
}
