package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// threeColumns is a table of which the middle column has a short form, and the last one may be left out.
func threeColumns() *table {
	name, when, size := &tableColumn{head: "NAME"}, &tableColumn{head: "WHEN"}, &tableColumn{head: "SIZE", right: true}
	name.add("one")
	when.add("2026-11-28 18:00:00", "2026-11-28")
	size.add("7 B")
	name.add("two hundred")
	when.add("never", "never")
	size.add("1.0 KiB")
	return &table{columns: []*tableColumn{name, when, size}, giving: []*tableColumn{when, size}}
}

func TestATableTakesTheRoomThereIs(t *testing.T) {
	t.Parallel()
	wide := "NAME         WHEN                    SIZE\none          2026-11-28 18:00:00      7 B\ntwo hundred  never                1.0 KiB"
	for width, want := range map[int]string{
		0:  wide,
		41: wide,
		40: "NAME         WHEN           SIZE\none          2026-11-28      7 B\ntwo hundred  never       1.0 KiB",
		31: "NAME         WHEN\none          2026-11-28\ntwo hundred  never",
		20: "NAME         WHEN\none       2026-11-28\ntwo hundred  never",
		9:  "NAME\n     WHEN\none\n    2026-11-28\ntwo\nhundred\n    never",
	} {
		if diff := cmp.Diff(want, strings.Join(threeColumns().lines(width), "\n")); diff != "" {
			t.Errorf("%d columns:\n%s", width, diff)
		}
	}
	if got := (&table{columns: []*tableColumn{{head: "A"}, {head: "B"}}}).lines(80); len(got) != 1 || got[0] != "A  B" {
		t.Errorf("without a row: %q", got)
	}
}

func TestLongLinesAreFoldedOnATerminal(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	p := &printer{w: &b, width: 20}
	p.printf("kept")
	p.printf("     one two three four\n    five\n    six seven eight nine\n")
	p.printf("averylongwordthathasnoroomatall\n")
	want := "kept     one two\n  three four\n    five\n    six seven eight\n      nine\naverylongwordthathasnoroomatall\n"
	if diff := cmp.Diff(want, b.String()); diff != "" || p.err != nil {
		t.Errorf("%v\n%s", p.err, diff)
	}
	b.Reset()
	p = &printer{w: &b}
	p.printf("one two three four five six seven\n")
	if b.String() != "one two three four five six seven\n" {
		t.Errorf("without a terminal: %q", b.String())
	}
}

// TestALongNameDoesNotNarrowAllRows: the room is that with the fewest lines, and no word is broken.
func TestALongNameDoesNotNarrowAllRows(t *testing.T) {
	t.Parallel()
	name, file := &tableColumn{head: "NAMES"}, &tableColumn{head: "FILE"}
	for _, n := range []string{"zope1", "zodb.example.org", "backup-host.intern.example.org"} {
		name.add(n)
		file.add("ca/" + n + ".pem")
	}
	want := "NAMES                           FILE\nzope1                          ca/zope1.pem\nzodb.example.org    ca/zodb.example.org.pem\n" +
		"backup-host.intern.example.org\n      ca/backup-host.intern.example.org.pem"
	if diff := cmp.Diff(want, strings.Join((&table{columns: []*tableColumn{name, file}}).lines(43), "\n")); diff != "" {
		t.Error(diff)
	}
}
