package lint

import (
	"fmt"
	"testing"
)

// maxLines is how long a file may be. A longer one became two ideas.
const maxLines = 400

// longFile finds a file that is too long. Those of tests may be longer.
func longFile(s source) []finding {
	lines := s.fset.File(s.file.Pos()).LineCount()
	if s.test() || lines <= maxLines {
		return nil
	}
	return []finding{s.at(s.file.Name, fmt.Sprintf("the file has %d lines; %d at most", lines, maxLines))}
}

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	for _, s := range project(t) {
		report(t, longFile(s))
	}
}

func TestLongFileIsFound(t *testing.T) {
	t.Parallel()
	long := "package p\n"
	for range maxLines {
		long += "\n"
	}
	for _, tc := range []struct {
		file, code string
		want       int
	}{
		{"internal/p/p.go", long, 1},
		{"internal/p/p_test.go", long, 0},
		{"internal/p/p.go", "package p\n", 0},
	} {
		if got := longFile(parse(t, tc.file, tc.code)); len(got) != tc.want {
			t.Errorf("%s: %v", tc.file, got)
		}
	}
}
