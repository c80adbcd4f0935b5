package pickle

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/zodb"
)

// example is one row of testdata/records.json, which Python wrote.
type example struct {
	Name  string `json:"name"`
	Hex   string `json:"hex"`
	Class string `json:"class"`
	Refs  []struct {
		OID      zodb.OID `json:"oid"`
		Database string   `json:"database"`
		Class    string   `json:"class"`
		Weak     bool     `json:"weak"`
	} `json:"refs"`
}

func (e example) record(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(e.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (e example) refs() []Ref {
	refs := make([]Ref, len(e.Refs))
	for i, r := range e.Refs {
		refs[i] = Ref{OID: r.OID, Weak: r.Weak, Database: r.Database, Class: r.Class}
	}
	return refs
}

func examples(t testing.TB) []example {
	t.Helper()
	b, err := os.ReadFile("testdata/records.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []example
	if err := json.Unmarshal(b, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

func strong(refs []Ref) []zodb.OID {
	var oids []zodb.OID
	for _, r := range refs {
		if r.Strong() {
			oids = append(oids, r.OID)
		}
	}
	slices.Sort(oids)
	return slices.Compact(oids)
}

func TestRecordsOfEveryProtocolAreUnderstood(t *testing.T) {
	t.Parallel()
	for _, e := range examples(t) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			record := e.record(t)
			refs, err := References(record)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e.refs(), refs); diff != "" {
				t.Errorf("references (-want +got):\n%s", diff)
			}
			oids, err := AppendStrongRefs(nil, record)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strong(e.refs()), oids); diff != "" {
				t.Errorf("strong references (-want +got):\n%s", diff)
			}
			if _, err := AppendStrongRefs(nil, record); err != nil {
				t.Errorf("valid: %v", err)
			}
			module, name, err := Class(record)
			if got := module + "." + name; err != nil || got != e.Class {
				t.Errorf("class %q, %v, want %q", got, err, e.Class)
			}
		})
	}
}

func TestAppendStrongRefsKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	record := []byte("N.](U\x08\x00\x00\x00\x00\x00\x00\x00\x09QU\x08\x00\x00\x00\x00\x00\x00\x00\x03Qe.")
	var s Scanner
	for range 2 { // the second time with used buffers
		oids, err := s.AppendStrongRefs([]zodb.OID{9, 1}, record)
		if diff := cmp.Diff([]zodb.OID{9, 1, 3, 9}, oids); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	oids, err := s.AppendStrongRefs([]zodb.OID{9, 1}, record[:len(record)-2])
	if diff := cmp.Diff([]zodb.OID{9, 1}, oids); err == nil || diff != "" {
		t.Errorf("after an error %v (-want +got):\n%s", err, diff)
	}
}

func TestWhatIsNotTwoPicklesIsRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, record, reason string
		offset               int64
	}{
		{"empty", "", "without a stop", 0},
		{"one pickle", "N.", "without a stop", 2},
		{"third pickle", "N.N.N.", "follows", 4},
		{"rest", "N.N.\x00", "follows", 4},
		{"empty stack at stop", ".N.", "stops with 0", 0},
		{"two values at stop", "NN.N.", "stops with 2", 2},
		{"open mark at stop", "N(.N.", "stops with", 2},
		{"unknown opcode", "N.\xff.", "no such opcode: 0xff", 2},
		{"newer protocol", "N.\x80\x06N.", "protocol 6", 2},
		{"underflow", "N.0.", "underflow", 2},
		{"underflow below a mark", "N.N(a.", "underflow", 4},
		{"dup of nothing", "N.2.", "underflow", 2},
		{"tuple without a mark", "N.Nt.", "no mark", 3},
		{"memo: never put", "N.h\x05.", "nothing at 5", 2},
		{"memo: text index", "N.gx\n.", "not a number", 2},
		{"memo: put of nothing", "N.q\x00.", "underflow", 2},
		{"odd dictionary", "N.(Nd.", "odd number", 4},
		{"cut in a number", "N.J\x00", "cut off", 2},
		{"cut in a length", "N.X\x00", "cut off", 2},
		{"cut in a string", "N.U\x05abc", "cut off", 2},
		{"8 byte length", "N.\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc", "cut off", 2},
		{"negative length", "N.T\xff\xff\xff\xffabc", "cut off", 2},
		{"line without end", "N.I12", "line without", 2},
		{"string without quotes", "N.Sabc\n.", "quotes", 2},
		{"frame past the end", "N.\x95\x09\x00\x00\x00\x00\x00\x00\x00N.", "frame", 2},
		{"buffer", "N.\x97.", "buffers", 2},
		{"class of a number", "N.K\x01X\x01\x00\x00\x00a\x93.", "not text", 10},
		{"object of nothing", "N.(o.", "underflow", 3},
		{"id: short", "N.U\x07aaaaaaaQ.", "no known form", 11},
		{"id: none", "N.NQ.", "no known form", 3},
		{"id: text beyond latin-1", "N.X\x0a\x00\x00\x00aaaaaaa\u2603Q.", "no known form", 17},
		{"id: tuple of three", "N.U\x08aaaaaaaaNN\x87Q.", "no known form", 15},
		{"id: tuple of four", "N.(U\x08aaaaaaaaNNNtQ.", "no known form", 17},
		{"id: list of dictionary items", "N.](U\x01wNuQ.", "no known form", 9},
		{"id: list of four", "N.](U\x08aaaaaaaaNNNeQ.", "no known form", 18},
		{"id: broken escape", "N.S'aaaaaaa\\x1'\nQ.", "no known form", 16},
		{"id: encoded by another codec", "N.c_codecs\nencode\nX\x08\x00\x00\x00aaaaaaaaX\x05\x00\x00\x00rot13\x86RQ.", "no known form", 43},
		{"id: list of three", "N.](U\x08aaaaaaaaNNeQ.", "no known form", 17},
		{"id: unknown letter", "N.](U\x01xU\x08aaaaaaaa\x85eQ.", "no known form", 19},
		{"id: database is a number", "N.](U\x01nK\x01U\x08aaaaaaaa\x86eQ.", "no known form", 21},
		{"zlib: damaged", ".zabc", "zlib", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := AppendStrongRefs(nil, []byte(tc.record))
			syntax, ok := errors.AsType[*SyntaxError](err)
			if !ok || !errors.Is(err, zodb.ErrCorrupt) {
				t.Fatalf("got %v, want a SyntaxError", err)
			}
			if !strings.Contains(syntax.Reason, tc.reason) || syntax.Offset != tc.offset {
				t.Errorf("got %v, want %q at %d", err, tc.reason, tc.offset)
			}
			if _, err := References([]byte(tc.record)); err == nil {
				t.Error("References accepts it")
			}
			if text, err := Dump([]byte(tc.record), 1000); err == nil || text != "" {
				t.Errorf("Dump gives %q, %v", text, err)
			}
		})
	}
}

func TestClassOfWhatIsNoClassIsRefused(t *testing.T) {
	t.Parallel()
	for name, record := range map[string]string{
		"none":              "N.N.",
		"text":              "U\x01a.N.",
		"reference":         "U\x08aaaaaaaaQ.N.",
		"other call":        "ca\nb\n)R.N.",
		"tuple of numbers":  "K\x01K\x02\x86.N.",
		"tuple of three":    "ca\nb\nNN\x87.N.",
		"call with nothing": "ccopy_reg\n_reconstructor\n)R.N.",
		"name too long":     "ca\n" + strings.Repeat("b", maxName+1) + "\n.N.",
		"not a pickle":      "hello",
	} {
		if module, class, err := Class([]byte(record)); err == nil {
			t.Errorf("%s: got %s.%s", name, module, class)
		}
	}
}

func TestSparseMemoCostsNoMemory(t *testing.T) {
	record := []byte("N.U\x08aaaaaaaar\xff\xff\xff\xff0Np1000000\n0j\xff\xff\xff\xffQ.")
	var oids []zodb.OID
	allocated := testing.AllocsPerRun(10, func() {
		var err error
		if oids, err = AppendStrongRefs(nil, record); err != nil {
			t.Fatal(err)
		}
	})
	if len(oids) != 1 || allocated > 20 {
		t.Errorf("%d references, %.0f allocations", len(oids), allocated)
	}
}
