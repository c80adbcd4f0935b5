package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var rowOfOffsets = regexp.MustCompile(`^\| (\d+) \| (\d+) \| (.*) \|$`)

// gaps returns the rows of tables of offsets that do not begin where the row before ends.
func gaps(doc string) (wrong []string, rows int) {
	end, table := 0, false
	for line := range strings.Lines(doc) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "| offset"):
			end, table = 0, true
		case line == "":
			table = false
		}
		m := rowOfOffsets.FindStringSubmatch(line)
		if m == nil || !table {
			continue
		}
		rows++
		offset, _ := strconv.Atoi(m[1])
		length, _ := strconv.Atoi(m[2])
		if offset != end {
			wrong = append(wrong, line)
		}
		end = offset + length
	}
	return wrong, rows
}

// TestOffsetsInDocumentsHaveNoGaps adds up the lengths in each table of offsets.
func TestOffsetsInDocumentsHaveNoGaps(t *testing.T) {
	t.Parallel()
	if wrong, _ := gaps("| offset | length | field |\n|---|---|---|\n| 0 | 4 | a |\n| 5 | 4 | b |\n"); len(wrong) != 1 {
		t.Errorf("of a table with a gap are wrong: %q", wrong)
	}
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := 0
	for _, name := range files {
		doc, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		wrong, rows := gaps(string(doc))
		all += rows
		for _, line := range wrong {
			t.Errorf("%s: not at the end of the row before: %s", name, line)
		}
	}
	if all < 100 {
		t.Errorf("%d rows of offsets, want at least 100", all)
	}
}
