package hometest

import (
	"bytes"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Field is one field of a file, as a test expects it: the beginning of its row in docs/format.md, and its bytes.
type Field struct {
	Row   string
	Bytes []byte
}

var offsetRow = regexp.MustCompile(`(?m)^\| (\d+) \| (\d+|…) \| (.*) \|$`)

// SameAsDocument compares bytes that the code has written with a table of offsets in docs/format.md, the
// first one behind a text. Each row with a length has to have its field, in the order of the table, and
// fields and rows have to make up all of b. doc is the path of the document.
func SameAsDocument(t testing.TB, doc, behind string, b []byte, fields []Field) {
	t.Helper()
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), behind)
	_, table, header := strings.Cut(table, "\n| offset")
	if !ok || !header {
		t.Fatalf("%s has no table behind %q", doc, behind)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	end := 0
	for _, row := range offsetRow.FindAllStringSubmatch(table, -1) {
		if row[2] == "…" {
			break
		}
		offset, _ := strconv.Atoi(row[1])
		length, _ := strconv.Atoi(row[2])
		switch {
		case len(fields) == 0:
			t.Fatalf("%s, %s: no field is expected at %d: %s", doc, behind, offset, row[3])
		case !strings.HasPrefix(row[3], fields[0].Row):
			t.Errorf("%s, %s: at %d is %q, want %q", doc, behind, offset, row[3], fields[0].Row)
		case offset+length > len(b):
			t.Fatalf("%s, %s: %q ends at %d, and the code writes %d bytes", doc, behind, row[3], offset+length, len(b))
		case offset != end || !bytes.Equal(b[offset:offset+length], fields[0].Bytes):
			t.Errorf("%s, %s: %q, %d bytes at %d behind %d: the code writes % x, want % x",
				doc, behind, row[3], length, offset, end, b[offset:offset+length], fields[0].Bytes)
		}
		fields, end = fields[1:], offset+length
	}
	if end != len(b) || len(fields) > 0 {
		t.Errorf("%s, %s: the table ends at %d, and the code writes %d bytes; left: %v", doc, behind, end, len(b), fields)
	}
}
