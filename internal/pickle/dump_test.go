package pickle

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/dump.txt")

func TestDumpIsReadable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, e := range examples(t) {
		text, err := Dump(e.record(t), 3500)
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		out.WriteString("== " + e.Name + "\n" + text + "\n")
	}
	const golden = "testdata/dump.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("dump (-want +got):\n%s", diff)
	}
}

func TestDumpOfSingleValues(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, state, want string }{
		{"recursive list", "]q\x00h\x00a", "[<recursion>]"},
		{"recursive object", "ca\nB\n)\x81q\x00}U\x01xh\x00sb", "a.B(state={'x': <recursion>})"},
		{"shared is not recursion", "]q\x00h\x00\x86", "([], [])"},
		{"object with list and dictionary", "ca\nB\n)\x81K\x01aK\x02K\x03s", "a.B(items=[1], 2: 3)"},
		{"arguments by name", "ca\nB\nK\x01\x85}U\x01xK\x02s\x92", "a.B(1, **{'x': 2})"},
		{"arguments that are no tuple", "ca\nB\nNR", "a.B(*None)"},
		{"old instance", "(K\x01ia\nB\n", "a.B(1)"},
		{"old object", "(ca\nB\nK\x01o", "a.B(1)"},
		{"class", "ca\nB\n", "a.B"},
		{"class with an escape sequence", "ca\nB\x1b[2J\n", `a.B\x1b[2J`},
		{"extension", "\x82\x07", "extension(7)"},
		{"old integers", "(I12\nI01\nI00\nL5L\nF1.5\nt", "(12, True, False, 5, 1.5)"},
		{"integers", "(J\xff\xff\xff\xffM\x01\x01\x8a\x00\x8a\x02\x00\xff\x8b\x02\x00\x00\x00\xff\x00t", "(-1, 257, 0, -256, 255)"},
		{"large integer", "\x8a\xff" + strings.Repeat("x", 255), "<integer of 255 bytes>"},
		{"floats", "(G\x7f\xf0\x00\x00\x00\x00\x00\x00G\xff\xf0\x00\x00\x00\x00\x00\x00G\x7f\xf8\x00\x00\x00\x00\x00\x00G\x00\x00\x00\x00\x00\x00\x00\x00t", "(inf, -inf, nan, 0.0)"},
		{"text that is not UTF-8", "X\x02\x00\x00\x00a\xff", `'a\xff'`},
		{"unprintable text", "X\x06\x00\x00\x00\xc2\xa0\xf3\xa0\x80\x81", `'\u00a0\U000e0001'`},
		{"text with escapes", "Va\\u2603\\\n", `'a☃\\'`},
		{"string literal", "S'\\'\\x41\\101\\n'\n", `'\'AA\n'`},
		{"long bytes", "B\x2c\x01\x00\x00" + strings.Repeat("\xc3", 300), "b'" + strings.Repeat(`\xc3`, 240) + "'… (300 bytes)"},
		{"long text is cut between characters", "X\xe9\x03\x00\x00a" + strings.Repeat("é", 500), "'a" + strings.Repeat("é", 119) + "'… (1001 bytes)"},
		{"wrong date", "cdatetime\ndate\nU\x03abc\x85R", "datetime.date('abc')"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := Dump([]byte("N."+tc.state+"."), 2000)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDumpIsBounded(t *testing.T) {
	t.Parallel()
	// Each level holds the one below twice: written out it would be 2^60 values.
	bomb := "N.]q\x00"
	for range 60 {
		bomb += "2\x86"
	}
	deep := "N." + strings.Repeat("]", 100000) + strings.Repeat("a", 99999) + "."
	// A tuple of many values, many times: each one may cost no more than is shown of it.
	wide := "N.(" + strings.Repeat("N", 200000) + "tq\x000(" + strings.Repeat("h\x00\x85", 100000) + "t."
	for name, record := range map[string]string{"doubling": bomb + ".", "deep": deep, "wide": wide} {
		text, err := Dump([]byte(record), 10000)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(text) > 10000+len(dumpCut) || !strings.Contains(text, dumpCut) {
			t.Errorf("%s: %d bytes, ends with %q", name, len(text), text[max(0, len(text)-20):])
		}
	}
}
