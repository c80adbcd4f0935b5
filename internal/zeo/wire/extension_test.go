package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// storedExtension is an entry of testdata/extensions.json.
type storedExtension struct {
	Name     string
	Protocol int
	Hex      string
	Want     string
}

func storedExtensions(t testing.TB) []storedExtension {
	t.Helper()
	text, err := os.ReadFile("testdata/extensions.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []storedExtension
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// describe is the description of a value that make_extensions.py makes.
func describe(v any) string {
	join := func(items []any) string {
		var texts []string
		for _, item := range items {
			texts = append(texts, describe(item))
		}
		return strings.Join(texts, " ")
	}
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return map[bool]string{true: "True", false: "False"}[v]
	case int64, *big.Int:
		return fmt.Sprint(v)
	case float64:
		if v == 0 {
			return "f:0"
		}
		text := fmt.Sprintf("%x", v)
		mantissa, exponent, _ := strings.Cut(text, "p")
		whole, fraction, _ := strings.Cut(mantissa, ".")
		fraction += strings.Repeat("0", 13-len(fraction))
		n := 0
		fmt.Sscan(exponent, &n)
		return fmt.Sprintf("f:%s.%sp%+d", whole, fraction, n)
	case complexNumber:
		return "c:" + describe(real(v)) + "," + describe(imag(v))
	case string:
		return "t:" + hex.EncodeToString([]byte(v))
	case []byte:
		return "b:" + hex.EncodeToString(v)
	case Tuple:
		return "(" + join(v) + ")"
	case List:
		return "[" + join(v) + "]"
	case Dict:
		var texts []string
		for _, p := range v {
			texts = append(texts, describe(p.Key)+"="+describe(p.Value))
		}
		return "{" + strings.Join(texts, " ") + "}"
	case Set:
		name := "set"
		if v.Frozen {
			name = "frozenset"
		}
		return name + "[" + join(v.Items) + "]"
	}
	return fmt.Sprintf("%T%v", v, v)
}

// TestStoredExtensionsOfAnyPythonAreRead reads Python's bytes, and our bytes of the same value.
func TestStoredExtensionsOfAnyPythonAreRead(t *testing.T) {
	t.Parallel()
	for _, e := range storedExtensions(t) {
		t.Run(fmt.Sprintf("%s/%d", e.Name, e.Protocol), func(t *testing.T) {
			t.Parallel()
			d := UnpickleDict(unhex(t, e.Hex))
			if got := describe(d); got != e.Want {
				t.Errorf("got %s\nwant %s", got, e.Want)
			}
			stored, err := PickleDict(d, 65535)
			if err != nil {
				t.Fatal(err)
			}
			if len(d) == 0 && stored != nil {
				t.Errorf("an empty dict becomes %q", stored)
			}
			if got := describe(UnpickleDict(stored)); got != e.Want {
				t.Errorf("written and read: %s\nwant %s", got, e.Want)
			}
		})
	}
}

// TestPickleDictWritesWhatPythonWrites compares with Python's pickles without a memo.
func TestPickleDictWritesWhatPythonWrites(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		d    Dict
		want string
	}{
		{"nil", nil, ""},
		{"empty", Dict{}, ""},
		{"one", Dict{{"a", int64(1)}}, "\x80\x03}X\x01\x00\x00\x00aK\x01s."},
		{"two", Dict{{"a", nil}, {"b", true}}, "\x80\x03}(X\x01\x00\x00\x00aNX\x01\x00\x00\x00b\x88u."},
		{"set", Dict{{"a", Set{Items: []any{int64(1)}}}}, "\x80\x03}X\x01\x00\x00\x00acbuiltins\nset\n]K\x01a\x85Rs."},
		{"empty frozenset", Dict{{"a", Set{Frozen: true}}}, "\x80\x03}X\x01\x00\x00\x00acbuiltins\nfrozenset\n]\x85Rs."},
		{
			"complex", Dict{{"a", complexNumber(1i)}},
			"\x80\x03}X\x01\x00\x00\x00acbuiltins\ncomplex\nG\x00\x00\x00\x00\x00\x00\x00\x00G?\xf0\x00\x00\x00\x00\x00\x00\x86Rs.",
		},
		{"left out", Dict{{"a", List{Prefix{}}}, {"b", int64(1)}, {List{}, 1}}, "\x80\x03}X\x01\x00\x00\x00bK\x01s."},
		{"all left out", Dict{{"a", struct{}{}}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := PickleDict(tc.d, 200)
			if err != nil || string(got) != tc.want {
				t.Errorf("got %q, %v\nwant %q", got, err, tc.want)
			}
		})
	}
}

func TestLimitOfExtensions(t *testing.T) {
	t.Parallel()
	d := Dict{{"k", bytes.Repeat([]byte("x"), 100)}, {"l", nil}}
	b, err := PickleDict(d, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := PickleDict(d, len(b)); err != nil {
		t.Error(err)
	}
	for _, limit := range []int{len(b) - 1, 50, 0} {
		if got, err := PickleDict(d, limit); err == nil || got != nil {
			t.Errorf("limit %d: %q, %v", limit, got, err)
		}
	}
}

// TestUnreadableExtensionsAreEmpty gives pickles that are damaged, hostile or no dicts.
func TestUnreadableExtensionsAreEmpty(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "x", "\x80\x03", "N.", "].", "\x80\x06}.", "}K\x01", "}(K\x01u.", "}K\x01K\x01s", "\x97}.",
		"}]K\x01s.",                      // a list as key
		"}q\x00K\x01h\x00s.",             // holds itself
		"cmodule\nclass\n)RK\x01K\x02s.", // an object
		"}I1x\nK\x01s.", "}FxK\nK\x01s.", "}S'\\x'\nK\x01s.", "}S'a\nK\x01s.", "}K\x01K\x02h\x05s.",
		"}I" + strings.Repeat("9", 5000) + "\nK\x01s.",
		"}K\x011K\x01s.", "0}.", "}\x93.",
	} {
		if d := UnpickleDict([]byte(text)); len(d) != 0 {
			t.Errorf("%q: %v", text, d)
		}
	}
}

// TestStoredOpcodes reads opcodes that the pickles of Python in testdata don't have.
func TestStoredOpcodes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, pickle string
		want         any // value of the key 1; errOpaque: left out
	}{
		{"POP", "K\x05K\x060", int64(5)},
		{"POP of a mark", "K\x05(0", int64(5)},
		{"POP_MARK", "K\x05(K\x06K\x071", int64(5)},
		{"DUP", "K\x052\x86", Tuple{int64(5), int64(5)}},
		{"INT, long", "I99999999999999999999\n", new(big.Int).Sub(new(big.Int).Exp(big.NewInt(10), big.NewInt(20), nil), big.NewInt(1))},
		{"INT, false", "I00\n", false},
		{"LONG without L", "L5\n", int64(5)},
		{"FLOAT", "F-1e3\n", -1000.0},
		{"STRING, escapes", `S'\a\b\t\n\v\f\r\\\'\"\101\7\x41\q'` + "\n", "\a\b\t\n\v\f\r\\'\"A\aA\\q"},
		{"STRING, octal over 8 bits", `S'\777'` + "\n", []byte{0xff}},
		{"UNICODE, lone surrogates", "V\\ud800\\ud800\\udc00\\udc00\\u12\n", "\xed\xa0\x80\U00010000\xed\xb0\x80\\u12"},
		{"UNICODE, surrogate at the end", "Va\\ud800\n", "a\xed\xa0\x80"},
		{"UNICODE, eight digits", "V\\U0001f600\\Uffffffff\n", "\U0001f600\\Uffffffff"},
		{"LONG4", "\x8b\x02\x00\x00\x00\xff\xff", int64(-1)},
		{"attribute on a set", "c__builtin__\nset\n)R}b", errOpaque},
		{"bytes of nothing", "c__builtin__\nbytes\n)R", []byte{}},
		{"bytes from latin1", "c_codecs\nencode\nX\x02\x00\x00\x00\xc3\xbfX\x06\x00\x00\x00latin1\x86R", []byte{0xff}},
		{"bytes from too wide text", "c_codecs\nencode\nX\x03\x00\x00\x00\xe2\x82\xacX\x06\x00\x00\x00latin1\x86R", errOpaque},
		{"bytes in another encoding", "c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8\x86R", errOpaque},
		{"call of a value", "K\x01)R", errOpaque},
		{"call with a list", "c__builtin__\nset\n]R", errOpaque},
		{"dict of what are no pairs", "c__builtin__\ndict\nK\x01\x85\x85R", errOpaque},
		{"extension registry", "\x82\x01", errOpaque},
		{"extension registry, wide", "\x84\x01\x00\x00\x00", errOpaque},
		{"persistent id", "Pabc\n", errOpaque},
		{"NEWOBJ_EX", "cm\nn\n)}\x92", errOpaque},
		{"items on objects", "cm\nn\n)R(K\x01e(K\x01K\x01uK\x01aK\x01K\x01s(K\x01\x90", errOpaque},
		{"prefix", "cZopeUndo.Prefix\nPrefix\n)\x81}(X\x06\x00\x00\x00lengthK\x01X\x04\x00\x00\x00path]X\x01\x00\x00\x00aaub", Prefix{1, []string{"a"}}},
		{"buffer", "\x97", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			want := Dict{{int64(1), tc.want}, {int64(2), int64(3)}}
			switch {
			case tc.want == errOpaque:
				want = want[1:]
			case tc.name == "buffer":
				want = nil
			}
			got := UnpickleDict([]byte("}(K\x01" + tc.pickle + "K\x02K\x03u."))
			if diff := cmp.Diff(want, got, opts); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRecordedExtensionsArePickledAsStored compares the extension of the recorded requests with its
// form on the disk and back.
func TestRecordedExtensionsArePickledAsStored(t *testing.T) {
	t.Parallel()
	count := 0
	for _, r := range readRecorded(t) {
		m, err := Decode(r.encoding, r.payload)
		if err != nil || m.Name != "tpc_begin" {
			continue
		}
		d := m.Args.(Tuple)[3].(Dict)
		stored, err := PickleDict(d, 65535)
		if err != nil {
			t.Fatal(err)
		}
		if got := UnpickleDict(stored); describe(got) != describe(d) {
			t.Errorf("%s:%d: %v becomes %v", r.file, r.line, d, got)
		}
		if len(d) > 0 {
			count++
		}
	}
	if count < 10 {
		t.Errorf("only %d extensions", count)
	}
}

// FuzzExtension reads any pickle and writes its value.
func FuzzExtension(f *testing.F) {
	for _, e := range storedExtensions(f) {
		f.Add(unhex(f, e.Hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := UnpickleDict(b)
		stored, err := PickleDict(d, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		checkSize(t, b, stored)
		again, err := PickleDict(UnpickleDict(stored), 1<<30)
		if err != nil || !bytes.Equal(again, stored) {
			t.Fatalf("%x, %v, is read from %x", again, err, stored)
		}
		for _, e := range []Encoding{Pickle, Msgpack} {
			if _, err := AppendReply(nil, e, nil, d.Expressible(e)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// checkSize asserts how much the value of b may blow up.
func checkSize(t *testing.T, b, encoded []byte) {
	t.Helper()
	// A small value takes up to 9 bytes; the longest thing around one is the name of a class.
	if limit := byteLimit(len(b)) + 40*min(valueLimit(len(b)), 1<<20); len(encoded) > limit {
		t.Fatalf("%d bytes become %d", len(b), len(encoded))
	}
}
