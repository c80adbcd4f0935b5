package wire

import (
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// asMessage returns a pickle of a message with one argument, given as opcodes.
func asMessage(arg string) []byte {
	return []byte("\x80\x03(K\x01\x89X\x04\x00\x00\x00ping" + arg + "\x85t.")
}

// TestPickledValues decodes each opcode that a client may send.
func TestPickledValues(t *testing.T) {
	t.Parallel()
	huge := new(big.Int).Lsh(big.NewInt(1), 71)
	for _, tc := range []struct {
		name, pickle string
		want         any
	}{
		{"None", "N", nil},
		{"True", "\x88", true},
		{"False", "\x89", false},
		{"BININT1", "K\xff", int64(255)},
		{"BININT2", "M\x00\xff", int64(0xff00)},
		{"BININT", "J\xfe\xff\xff\xff", int64(-2)},
		{"LONG1 of nothing", "\x8a\x00", int64(0)},
		{"LONG1", "\x8a\x05\x00\x00\x00\x00\x80", int64(-1 << 39)},
		{"LONG1 of 8 bytes", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", int64(1<<63 - 1)},
		{"LONG1, unnecessarily long", "\x8a\x0a\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", int64(1)},
		{"LONG1, unnecessarily long, negative", "\x8a\x0a\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff", int64(-128)},
		{"LONG1, 2^63", "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00", new(big.Int).Lsh(big.NewInt(1), 63)},
		{"LONG1, huge", "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x80", new(big.Int).Neg(huge)},
		{"LONG4", "\x8b\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80", new(big.Int).Neg(huge)},
		{"BINFLOAT", "G\xbf\xf8\x00\x00\x00\x00\x00\x00", -1.5},
		{"BINUNICODE", "X\x02\x00\x00\x00\xc3\xa9", "é"},
		{"BINUNICODE, surrogate", "X\x03\x00\x00\x00\xed\xa0\x80", "\xed\xa0\x80"},
		{"SHORT_BINBYTES", "C\x02\x00\xff", []byte("\x00\xff")},
		{"BINBYTES", "B\x02\x00\x00\x00\x00\xff", []byte("\x00\xff")},
		{"SHORT_BINSTRING", "U\x02ab", "ab"},
		{"BINSTRING", "T\x02\x00\x00\x00ab", "ab"},
		{"EMPTY_TUPLE", ")", Tuple{}},
		{"TUPLE of nothing", "(t", Tuple{}},
		{"TUPLE3", "K\x01K\x02K\x03\x87", Tuple{int64(1), int64(2), int64(3)}},
		{"TUPLE", "(K\x01K\x02t", Tuple{int64(1), int64(2)}},
		{"EMPTY_LIST", "]", List{}},
		{"LIST", "(K\x01l", List{int64(1)}},
		{"APPEND", "]K\x01aK\x02a", List{int64(1), int64(2)}},
		{"APPENDS", "](K\x01e(K\x02e(e", List{int64(1), int64(2)}},
		{"EMPTY_DICT", "}", Dict{}},
		{"DICT", "(K\x01K\x02d", Dict{{int64(1), int64(2)}}},
		{"SETITEM", "}K\x01K\x02s", Dict{{int64(1), int64(2)}}},
		{"SETITEMS", "}(K\x01K\x02u(K\x03K\x04u(u", Dict{{int64(1), int64(2)}, {int64(3), int64(4)}}},
		{"key twice", "}(C\x01aK\x01U\x01aK\x02C\x01aK\x03u", Dict{{[]byte("a"), int64(3)}, {"a", int64(2)}}},
		{"text key twice", "}(U\x01aK\x01U\x01bK\x02U\x01aK\x03u", Dict{{"a", int64(3)}, {"b", int64(2)}}},
		{"memo", "]q\x00K\x01r\x09\x00\x00\x00ah\x00\x86", Tuple{List{int64(1)}, List{int64(1)}}},
		{"memo in text form", "U\x01ap0\ng0\n\x86", Tuple{"a", "a"}},
		{"memo from 1", "U\x01aq\x01h\x01\x86", Tuple{"a", "a"}},
		{"memo far away", "U\x01ar\xff\xff\xff\xffj\xff\xff\xff\xff\x86", Tuple{"a", "a"}},
		{"memo set again", "U\x01aq\x00U\x01bq\x00h\x00\x87", Tuple{"a", "b", "b"}},
		{"list that grows after the memo", "]q\x00h\x00K\x01a\x86", Tuple{List{int64(1)}, List{int64(1)}}},
		{"dict()", "cbuiltins\ndict\n)R", Dict{}},
		{"dict(pairs)", "cbuiltins\ndict\nU\x01aK\x01\x86\x85\x85R", Dict{{"a", int64(1)}}},
		{"dict(list of lists)", "cbuiltins\ndict\n](](U\x01aK\x01ee\x85R", Dict{{"a", int64(1)}}},
		{"dict(dict)", "cbuiltins\ndict\n}U\x01aK\x01s\x85RK\x02K\x03s", Dict{{"a", int64(1)}, {int64(2), int64(3)}}},
		{"set()", "cbuiltins\nset\n)R", Set{}},
		{"set", "cbuiltins\nset\n](K\x01K\x02e\x85R", Set{Items: []any{int64(1), int64(2)}}},
		{"frozenset", "cbuiltins\nfrozenset\n]K\x01a\x85R", Set{Items: []any{int64(1)}, Frozen: true}},
		{"frozenset as key", "}cbuiltins\nfrozenset\n]K\x01a\x85RNs", Dict{{Set{Items: []any{int64(1)}, Frozen: true}, nil}}},
		{"set of set", "cbuiltins\nset\ncbuiltins\nset\n]K\x01a\x85R\x85R", Set{Items: []any{int64(1)}}},
		{"bytearray", "cbuiltins\nbytearray\nC\x01a\x85R", []byte("a")},
		{"bytearray()", "cbuiltins\nbytearray\n)R", []byte{}},
		{"complex", "cbuiltins\ncomplex\nG\x3f\xf8\x00\x00\x00\x00\x00\x00K\x02\x86R", complexNumber(1.5 + 2i)},
		{"binary", "czodbpickle\nbinary\nC\x01a\x85R", []byte("a")},
		{
			"Prefix", "cZopeUndo.Prefix\nPrefix\n)\x81}(X\x06\x00\x00\x00lengthK\x02X\x04\x00\x00\x00path](X\x01\x00\x00\x00aX\x01\x00\x00\x00beub",
			Prefix{Length: 2, Path: []string{"a", "b"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m, err := Decode(Pickle, asMessage(tc.pickle))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Tuple{tc.want}, m.Args, opts); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnpackedValues decodes each type of msgpack.
func TestUnpackedValues(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, msgpack string
		want          any
	}{
		{"nil", "\xc0", nil},
		{"false", "\xc2", false},
		{"true", "\xc3", true},
		{"fixint", "\x7f", int64(127)},
		{"negative fixint", "\xe0", int64(-32)},
		{"uint8", "\xcc\xff", int64(255)},
		{"uint16", "\xcd\xff\xff", int64(65535)},
		{"uint32", "\xce\xff\xff\xff\xff", int64(1<<32 - 1)},
		{"uint64", "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", int64(1<<63 - 1)},
		{"uint64, large", "\xcf\x80\x00\x00\x00\x00\x00\x00\x00", new(big.Int).Lsh(big.NewInt(1), 63)},
		{"int8", "\xd0\x80", int64(-128)},
		{"int16", "\xd1\x80\x00", int64(-32768)},
		{"int32", "\xd2\x80\x00\x00\x00", int64(-1 << 31)},
		{"int64", "\xd3\x80\x00\x00\x00\x00\x00\x00\x00", int64(-1 << 63)},
		{"float32", "\xca\x3f\xc0\x00\x00", 1.5},
		{"float64", "\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", 1.5},
		{"fixstr", "\xa2\xc3\xa9", "é"},
		{"str8", "\xd9\x01a", "a"},
		{"str16", "\xda\x00\x01a", "a"},
		{"str32", "\xdb\x00\x00\x00\x01a", "a"},
		{"bin8", "\xc4\x00", []byte{}},
		{"bin16", "\xc5\x00\x01\xff", []byte{0xff}},
		{"bin32", "\xc6\x00\x00\x00\x01\xff", []byte{0xff}},
		{"fixarray", "\x92\x01\x90", Tuple{int64(1), Tuple{}}},
		{"array16", "\xdc\x00\x01\xc0", Tuple{nil}},
		{"array32", "\xdd\x00\x00\x00\x01\xc0", Tuple{nil}},
		{"fixmap", "\x82\xa1a\x01\xc4\x01a\x80", Dict{{"a", int64(1)}, {[]byte("a"), Dict{}}}},
		{"map16", "\xde\x00\x01\xa0\xc0", Dict{{"", nil}}},
		{"map32", "\xdf\x00\x00\x00\x01\xa0\xc0", Dict{{"", nil}}},
		{"key twice", "\x83\xa1a\x01\xa1b\x02\xa1a\x03", Dict{{"a", int64(3)}, {"b", int64(2)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m, err := Decode(Msgpack, []byte("\x94\x01\xc2\xa4ping\x91"+tc.msgpack))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Tuple{tc.want}, m.Args, opts); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestBytesAreNotCopied looks where the bytes of a message are.
func TestBytesAreNotCopied(t *testing.T) {
	t.Parallel()
	for _, e := range []Encoding{Pickle, Msgpack} {
		frame, err := AppendRequest(nil, e, 1, true, "storea", make([]byte, 1000))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Decode(e, frame)
		if err != nil {
			t.Fatal(err)
		}
		b := m.Args.(Tuple)[0].([]byte)
		b[500] = 1
		if strings.Count(string(frame), "\x01") < 2 || cap(b) != len(b) {
			t.Errorf("%c: a copy, or may be appended to", e)
		}
	}
}

// TestKeysTwiceInLargeDicts has more keys than are compared one by one.
func TestKeysTwiceInLargeDicts(t *testing.T) {
	t.Parallel()
	var d Dict
	for i := range 100 {
		d = append(d, Pair{fmt.Sprint(i % 50), int64(i)}, Pair{int64(i % 20), int64(i)}, Pair{Tuple{int64(i)}, nil})
	}
	frame, err := AppendRequest(nil, Pickle, 1, false, "ping", d)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode(Pickle, frame)
	if err != nil {
		t.Fatal(err)
	}
	got := m.Args.(Tuple)[0].(Dict)
	if len(got) != 50+20+100 || got.Get("0") != int64(50) || got[1] != (Pair{int64(0), int64(80)}) {
		t.Errorf("%d keys, %v, %v", len(got), got.Get("0"), got[1])
	}
}

// hostile are frames that must be refused.
var hostile = []struct {
	name     string
	encoding Encoding
	frame    string
	reason   string // part of the error
}{
	{"empty", Pickle, "", "truncated"},
	{"no STOP", Pickle, "\x80\x03N", "truncated"},
	{"not a tuple", Pickle, "\x80\x03N.", "four"},
	{"tuple of three", Pickle, "\x80\x03K\x01\x89U\x04ping\x87.", "four"},
	{"tuple of five", Pickle, "(K\x01\x89U\x04ping))t.", "four"},
	{"nothing in it", Pickle, "(t.", "four"},
	{"name is bytes", Pickle, "(K\x01\x89C\x04ping)t.", "name"},
	{"arguments are a dict", Pickle, "(K\x01\x89U\x04ping}t.", "arguments"},
	{"two values", Pickle, "N(K\x01\x89U\x04ping)t.", "one value"},
	{"open mark", Pickle, "((K\x01\x89U\x04ping)t.", "one value"},
	{"protocol 4", Pickle, "\x80\x04(K\x01\x89U\x04ping)t.", "protocol"},
	{"short protocol", Pickle, "\x80", "truncated"},
	{"unknown opcode", Pickle, "\xff", "unknown opcode"},
	{"FRAME", Pickle, "\x80\x03\x95\x00\x00\x00\x00\x00\x00\x00\x00N.", "unknown opcode"},
	{"POP", Pickle, "N0", "unknown opcode"},
	{"DUP", Pickle, "N2", "unknown opcode"},
	{"PERSID", Pickle, "Pa\n.", "unknown opcode"},
	{"INST", Pickle, "(ios\nsystem\n.", "unknown opcode"},
	{"EXT1", Pickle, "\x82\x01.", "unknown opcode"},
	{"STACK_GLOBAL", Pickle, "U\x02osU\x06system\x93.", "unknown opcode"},

	{"os.system", Pickle, "cos\nsystem\nU\x02id\x85R.", "class"},
	{"eval", Pickle, "cbuiltins\neval\nU\x011\x85R.", "class"},
	{"getattr", Pickle, "cbuiltins\ngetattr\n.", "class"},
	{"other builtins module", Pickle, "c__builtin__\ndict\n)R.", "class"},
	{"_codecs", Pickle, "c_codecs\nencode\n.", "class"},
	{"copy_reg", Pickle, "ccopy_reg\n_reconstructor\n.", "class"},
	{"other name of zodbpickle", Pickle, "czodbpickle\nloads\n.", "class"},
	{"dotted name", Pickle, "cbuiltins\ndict.fromkeys\n.", "class"},
	{"GLOBAL without end", Pickle, "cbuiltins\ndict", "truncated"},
	{"class as value", Pickle, string(asMessage("cbuiltins\ndict\n")), "class"},
	{"class as id", Pickle, "(cbuiltins\ndict\n\x89U\x04ping)t.", "class"},
	{"NEWOBJ of a dict", Pickle, "cbuiltins\ndict\n)\x81.", "wrong type"},
	{"NEWOBJ with arguments", Pickle, "cZopeUndo.Prefix\nPrefix\nN\x85\x81.", "wrong type"},
	{"REDUCE of a Prefix", Pickle, "cZopeUndo.Prefix\nPrefix\n)R.", "wrong type"},
	{"REDUCE of a value", Pickle, "N)R.", "wrong type"},
	{"REDUCE with a list", Pickle, "cbuiltins\nset\n]R.", "wrong type"},
	{"set of a number", Pickle, "cbuiltins\nset\nK\x01\x85R.", "wrong type"},
	{"set of two", Pickle, "cbuiltins\nset\n))\x86R.", "wrong type"},
	{"set of lists", Pickle, string(asMessage("cbuiltins\nset\n]]a\x85R")), "can change"},
	{"dict of triples", Pickle, "cbuiltins\ndict\n)\x85\x85R.", "wrong type"},
	{"dict of dict items", Pickle, "cbuiltins\ndict\nK\x01\x85R.", "wrong type"},
	{"bytearray of a number", Pickle, "cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "wrong type"},
	{"binary of text", Pickle, "czodbpickle\nbinary\nU\x01a\x85R.", "wrong type"},
	{"complex of text", Pickle, "cbuiltins\ncomplex\nU\x01aK\x01\x86R.", "wrong type"},
	{"Prefix without state", Pickle, string(asMessage("cZopeUndo.Prefix\nPrefix\n)\x81")), "class"},
	{"Prefix with another attribute", Pickle, "cZopeUndo.Prefix\nPrefix\n)\x81}U\x01aNsb.", "wrong type"},
	{"Prefix with a path of numbers", Pickle, "cZopeUndo.Prefix\nPrefix\n)\x81}U\x04path]K\x01asb.", "wrong type"},
	{"Prefix with a text as path", Pickle, "cZopeUndo.Prefix\nPrefix\n)\x81}U\x04pathU\x01asb.", "wrong type"},
	{"Prefix with a text as length", Pickle, "cZopeUndo.Prefix\nPrefix\n)\x81}U\x06lengthU\x01asb.", "wrong type"},
	{"Prefix with a tuple as state", Pickle, "cZopeUndo.Prefix\nPrefix\n)\x81N)\x86b.", "wrong type"},
	{"Prefix as key", Pickle, string(asMessage("}cZopeUndo.Prefix\nPrefix\n)\x81}bNs")), "can change"},
	{"BUILD of a dict", Pickle, "}}b.", "wrong type"},

	{"pop from nothing", Pickle, "a", "underflow"},
	{"pop below the mark", Pickle, "](K\x01K\x02(a", "underflow"},
	{"put of nothing", Pickle, "(q\x00", "underflow"},
	{"no mark", Pickle, "t", "no mark"},
	{"append to a tuple", Pickle, ")Na", "wrong type"},
	{"append to a dict", Pickle, "}Na", "wrong type"},
	{"item of a list", Pickle, "]NNs", "wrong type"},
	{"odd number", Pickle, "}(NNNu", "wrong type"},
	{"odd number in DICT", Pickle, "(Nd", "wrong type"},
	{"list as key", Pickle, string(asMessage("}]Ns")), "can change"},
	{"list in a tuple as key", Pickle, string(asMessage("}N]\x86Ns")), "can change"},
	{"missing memo", Pickle, "h\x00", "memo"},
	{"hole in the memo", Pickle, "Nq\x01h\x00", "memo"},
	{"memo with a sign", Pickle, "Np-1\n", "invalid"},
	{"memo beyond 32 bits", Pickle, "Np4294967296\n", "range"},
	{"memo without end", Pickle, "Np1", "truncated"},

	{"long bytes", Pickle, "B\xff\xff\xff\xffabc", "truncated"},
	{"long text", Pickle, "X\xff\xff\xff\xffabc", "truncated"},
	{"long string", Pickle, "T\xff\xff\xff\xffabc", "truncated"},
	{"long integer", Pickle, "\x8b\xff\xff\xff\xffabc", "truncated"},
	{"integer without a use", Pickle, string(asMessage("\x8b\x01\x08\x00\x00" + strings.Repeat("U", 2049))), "integer of more"},
	{"integer with a sign that is repeated", Pickle, string(asMessage("\x8b\x00\x00\x10\x00" + strings.Repeat("\xff", 1<<20))), "integer of more"},
	{"long line of a class", Pickle, "c" + strings.Repeat("x", 1<<20) + "\n", "line of more"},
	{"long line of a place in the memo", Pickle, "Np" + strings.Repeat("1", 1<<20) + "\n", "line of more"},
	{"short float", Pickle, "G1234567", "truncated"},
	{"short length", Pickle, "B\x01", "truncated"},
	{"text of wrong bytes", Pickle, "X\x01\x00\x00\x00\xff", "UTF-8"},
	{"text with half a surrogate", Pickle, "X\x02\x00\x00\x00\xed\xa0", "UTF-8"},
	{"string of Python 2 that is not ASCII", Pickle, "U\x02\xc3\xa9", "ASCII"},

	{"deep tuples", Pickle, string(asMessage("N" + strings.Repeat("\x85", 1000))), "deep"},
	{"deep lists", Pickle, string(asMessage(strings.Repeat("]", 1000) + strings.Repeat("a", 999))), "deep"},
	{"deep dicts", Pickle, string(asMessage(strings.Repeat("}N", 1000) + "N" + strings.Repeat("s", 1000))), "deep"},
	{"marks", Pickle, strings.Repeat("(", 1<<20), "deep"},
	{"deep id", Pickle, "(N" + strings.Repeat("\x85", 1000) + "\x89U\x04ping)t.", "deep"},
	{"list that holds itself", Pickle, string(asMessage("]q\x00h\x00a")), "deep"},
	{"list that holds itself twice", Pickle, string(asMessage("]q\x00(h\x00h\x00e")), "deep"},
	{"dict that holds itself", Pickle, string(asMessage("}q\x00Nh\x00s")), "deep"},
	{"list that holds itself in a tuple", Pickle, string(asMessage("]q\x00h\x00\x85a")), "deep"},
	{"the message holds itself", Pickle, "](K\x01\x89U\x04pingeq\x00h\x00a.", "deep"},
	{"laughs", Pickle, string(asMessage(laughs("N", "\x86", 60))), "too many"},
	{"laughs of lists", Pickle, string(asMessage("(Nq\x00" + strings.Repeat("](h\x00h\x00eq\x00", 40) + "t")), "too many"},
	{"laughs of text", Pickle, string(asMessage(laughs("C\xff"+strings.Repeat("x", 255), "\x86", 15))), "too much"},
	{"dict of a large list again and again", Pickle, string(asMessage(
		"](" + strings.Repeat("NN\x86", 50) + "eq\x00" + strings.Repeat("cbuiltins\ndict\nh\x00\x85R", 10_000))), "too many"},
	{"set of a large list again and again", Pickle, string(asMessage(
		"](" + strings.Repeat("N", 10000) + "eq\x00" + strings.Repeat("cbuiltins\nset\nh\x00\x85R", 10_000))), "too many"},
	{"many values", Pickle, string(asMessage("](" + strings.Repeat("N", 1<<20) + "e")), "too many"},
	{"many memo places", Pickle, "N" + strings.Repeat("q\x00", 1<<20) + strings.Repeat("]", 1<<20), "too many"},

	{"empty", Msgpack, "", "too few"},
	{"not an array", Msgpack, "\x01", "array"},
	{"array of three", Msgpack, "\x93\x01\xc2\xa4ping", "four"},
	{"array of five", Msgpack, "\x95\x01\xc2\xa4ping\x90\x90", "four"},
	{"name is bytes", Msgpack, "\x94\x01\xc2\xc4\x04ping\x90", "name"},
	{"arguments are a map", Msgpack, "\x94\x01\xc2\xa4ping\x80", "arguments"},
	{"truncated", Msgpack, "\x94\x01\xc2\xa4ping", "too few"},
	{"bytes after it", Msgpack, "\x94\x01\xc2\xa4ping\x90\xc0", "after"},
	{"integer as key", Msgpack, "\x94\x01\xc2\xa4ping\x91\x81\x01\x01", "key"},
	{"nil as key", Msgpack, "\x94\x01\xc2\xa4ping\x91\x81\xc0\x01", "key"},
	{"array as key", Msgpack, "\x94\x01\xc2\xa4ping\x91\x81\x90\x01", "key"},
	{"no key", Msgpack, "\x94\x01\xc2\xa4ping\x91\x81", "too few"},
	{"never used type", Msgpack, "\x94\x01\xc2\xa4ping\x91\xc1", "type"},
	{"extension", Msgpack, "\x94\x01\xc2\xa4ping\x91\xd4\x01x", "type"},
	{"timestamp", Msgpack, "\x94\x01\xc2\xa4ping\x91\xd6\xff\x00\x00\x00\x00", "type"},
	{"extension of 8 bits", Msgpack, "\x94\x01\xc2\xa4ping\x91\xc7\x01\x05x", "type"},
	{"complex extension", Msgpack, "\x94\x01\xc2\xa4ping\x91\xd8\x03" + strings.Repeat("x", 16), "type"},
	{"extension as key", Msgpack, "\x94\x01\xc2\xa4ping\x91\x81\xd4\x01x\x01", "key"},
	{"text of wrong bytes", Msgpack, "\x94\x01\xc2\xa4ping\x91\xa1\xff", "UTF-8"},
	{"surrogate", Msgpack, "\x94\x01\xc2\xa4ping\x91\xa3\xed\xa0\x80", "UTF-8"},
	{"long array", Msgpack, "\x94\x01\xc2\xa4ping\xdd\xff\xff\xff\xff\xc0", "too few"},
	{"long map", Msgpack, "\x94\x01\xc2\xa4ping\x91\xdf\xff\xff\xff\xff\xa0\xc0", "too few"},
	{"long bytes", Msgpack, "\x94\x01\xc2\xa4ping\x91\xc6\xff\xff\xff\xffx", "too few"},
	{"long text", Msgpack, "\x94\x01\xc2\xa4ping\x91\xdb\xff\xff\xff\xffx", "too few"},
	{"deep arrays", Msgpack, "\x94\x01\xc2\xa4ping" + strings.Repeat("\x91", 1<<20) + "\xc0", "deep"},
	{"deep maps", Msgpack, "\x94\x01\xc2\xa4ping\x91" + strings.Repeat("\x81\xa0", 1<<20) + "\xc0", "deep"},
	{"long arrays in each other", Msgpack, "\x94\x01\xc2\xa4ping" + strings.Repeat("\xdd\x00\x04\x00\x00", 90) + strings.Repeat("\xc0", 1<<20), "too many"},
	{"many values", Msgpack, "\x94\x01\xc2\xa4ping\x91\xdd\x00\x10\x00\x00" + strings.Repeat("\xc0", 1<<20), "too many"},
}

// laughs returns a pickle of n tuples, each of which holds the one before it twice.
func laughs(first, op string, n int) string {
	out := []byte(first)
	for i := range n {
		out = append(out, 'q', byte(i), 'h', byte(i))
		out = append(out, op...)
	}
	return string(out)
}

// TestHostileFramesAreRefused also measures the cost of the refusals.
func TestHostileFramesAreRefused(t *testing.T) {
	for _, tc := range hostile {
		t.Run(fmt.Sprintf("%c %s", tc.encoding, tc.name), func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := Decode(tc.encoding, []byte(tc.frame))
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), tc.reason) {
				t.Errorf("got %v, want something with %q", err, tc.reason)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > uint64(16<<20+64*len(tc.frame)) {
				t.Errorf("%d bytes of memory for %d", n, len(tc.frame))
			}
		})
	}
}

// TestRequestsMayTakeNoMoreMemoryThanTheyAreGiven measures the allocations for frames of the
// smallest values, refused or not.
func TestRequestsMayTakeNoMoreMemoryThanTheyAreGiven(t *testing.T) {
	const n = 1 << 20
	for name, tc := range map[string]struct {
		e     Encoding
		frame string
	}{
		"dicts":       {Pickle, string(asMessage("(" + strings.Repeat("}", n) + "t"))},
		"lists":       {Pickle, string(asMessage("(" + strings.Repeat("]", n) + "t"))},
		"calls":       {Pickle, string(asMessage("(" + strings.Repeat("cbuiltins\ndict\n)R", n/17) + "t"))},
		"tuples":      {Pickle, string(asMessage("(" + strings.Repeat("N\x85", n/2) + "t"))},
		"dict":        {Pickle, string(asMessage("}(" + strings.Repeat("M\xff\xffN", n/4) + "u"))},
		"memo":        {Pickle, string(asMessage("(" + strings.Repeat("Nr\xff\xff\xff\xff", n/6) + "t"))},
		"short text":  {Pickle, string(asMessage("(" + strings.Repeat("U\x01a", n/3) + "t"))},
		"long text":   {Pickle, string(asMessage("X\x00\x00\x10\x00" + strings.Repeat("a", n)))},
		"arrays":      {Msgpack, "\x94\x01\xc2\xa4ping\xdd\x00\x10\x00\x00" + strings.Repeat("\x91\xc0", n)},
		"maps":        {Msgpack, "\x94\x01\xc2\xa4ping\xdd\x00\x10\x00\x00" + strings.Repeat("\x81\xa1a\xc0", n)},
		"packed text": {Msgpack, "\x94\x01\xc2\xa4ping\x91\xdb\x00\x10\x00\x00" + strings.Repeat("a", n)},
	} {
		for _, memory := range []int{10_000, 100_000, 1_000_000} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := DecodeRequest(tc.e, []byte(tc.frame), memory)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Errorf("%s is taken with %d bytes", name, memory)
			}
			// Allocated in all, the outgrown parts of a slice included; the frame is copied.
			if got := int(after.TotalAlloc-before.TotalAlloc) - len(tc.frame); got > 2*memory+20_000 {
				t.Errorf("%s: %d bytes allocated where %d were given", name, got, memory)
			}
		}
	}
}

// TestRequestsOfClientsTakeLittleMemory: all that were recorded, and the largest extension.
func TestRequestsOfClientsTakeLittleMemory(t *testing.T) {
	t.Parallel()
	n := 0
	for _, r := range readRecorded(t) {
		if _, err := Decode(r.encoding, r.payload); err != nil || !r.toServer {
			continue
		}
		n++
		if _, err := DecodeRequest(r.encoding, r.payload, 16<<10); err != nil {
			t.Errorf("%s:%d: %v", r.file, r.line, err)
		}
	}
	if n < 100 {
		t.Fatalf("%d requests", n)
	}
	var d Dict
	for i := range 5000 {
		d = append(d, Pair{fmt.Sprint("key", i), i})
	}
	for _, e := range []Encoding{Pickle, Msgpack} {
		frame, err := AppendRequest(nil, e, 1, true, "tpc_begin", int64(1<<40), make([]byte, 65535), make([]byte, 65535), d, nil, " ")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeRequest(e, frame, MemoryFor(len(frame))); err != nil {
			t.Errorf("%c: an extension of %d keys in %d bytes: %v", e, len(d), len(frame), err)
		}
	}
}

// TestTruncatedMessagesAreRefused cuts recorded messages at each byte.
func TestTruncatedMessagesAreRefused(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, r := range readRecorded(t) {
		m, err := Decode(r.encoding, r.payload)
		key := fmt.Sprint(r.encoding, r.toServer, m.Name, m.Failed())
		if err != nil || seen[key] || len(r.payload) > 5000 {
			continue
		}
		seen[key] = true
		for n := range len(r.payload) {
			if _, err := Decode(r.encoding, r.payload[:n]); err == nil {
				t.Errorf("%s:%d cut at %d is decoded", r.file, r.line, n)
			}
		}
	}
}
