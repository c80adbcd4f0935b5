package wire

import (
	"bytes"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/zodb"
)

// unhex reads hexadecimal with spaces.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// opts lets *big.Int be compared.
var opts = cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })

const maxTID = zodb.TID(1<<63 - 1)

// TestExamples holds messages byte by byte as Python clients and servers sent them.
func TestExamples(t *testing.T) {
	t.Parallel()
	oid, tid := zodb.OID(1).Bytes(), maxTID.Bytes()
	for _, tc := range []struct {
		name            string
		pickle, msgpack string
		want            Message // without RawID
		write           func(e Encoding, m Message) ([]byte, error)
	}{
		{
			"register",
			"80 03 28 4b01 89 58 08000000 7265676973746572 58 01000000 31 4b00 86 74 2e",
			"94 01 c2 a8 7265676973746572 92 a131 00",
			Message{ID: int64(1), Flag: false, Name: "register", Args: Tuple{"1", int64(0)}},
			func(e Encoding, m Message) ([]byte, error) {
				return AppendRequest(nil, e, 1, false, "register", "1", 0)
			},
		},
		{
			"reply on an empty storage",
			"80 03 28 4b01 4b00 58 06000000 2e7265706c79 43 08 0000000000000000 74 2e",
			"94 01 00 a6 2e7265706c79 c4 08 0000000000000000",
			Message{ID: int64(1), Flag: int64(0), Name: ".reply", Args: zodb.TID(0).Bytes()},
			func(e Encoding, m Message) ([]byte, error) { return AppendReply(nil, e, m.RawID, zodb.TID(0)) },
		},
		{
			"get_info",
			"80 03 28 4b02 89 58 08000000 6765745f696e666f 29 74 2e",
			"94 02 c2 a8 6765745f696e666f 90",
			Message{ID: int64(2), Flag: false, Name: "get_info", Args: Tuple{}},
			func(e Encoding, m Message) ([]byte, error) { return AppendRequest(nil, e, int64(2), false, "get_info") },
		},
		{
			"loadBefore",
			"80 03 28 43 08 0000000000000001 43 08 7fffffffffffffff 86 89 58 0a000000 6c6f61644265666f7265 43 08 0000000000000001 43 08 7fffffffffffffff 86 74 2e",
			"94 92 c4 08 0000000000000001 c4 08 7fffffffffffffff c2 aa 6c6f61644265666f7265 92 c4 08 0000000000000001 c4 08 7fffffffffffffff",
			Message{ID: Tuple{oid, tid}, Flag: false, Name: "loadBefore", Args: Tuple{oid, tid}},
			func(e Encoding, m Message) ([]byte, error) {
				return AppendRequest(nil, e, Tuple{zodb.OID(1), maxTID}, false, "loadBefore", zodb.OID(1), maxTID)
			},
		},
		{
			"POSKeyError",
			"80 03 28 43 08 0000000000000063 43 08 7fffffffffffffff 86 4b02 58 06000000 2e7265706c79 58 1d000000 5a4f44422e504f53457863657074696f6e2e504f534b65794572726f72 43 08 0000000000000063 85 86 74 2e",
			"94 92 c4 08 0000000000000063 c4 08 7fffffffffffffff 02 a6 2e7265706c79 92 bd 5a4f44422e504f53457863657074696f6e2e504f534b65794572726f72 91 c4 08 0000000000000063",
			Message{
				ID: Tuple{zodb.OID(99).Bytes(), tid}, Flag: int64(2), Name: ".reply",
				Args: Tuple{"ZODB.POSException.POSKeyError", Tuple{zodb.OID(99).Bytes()}},
			},
			func(e Encoding, m Message) ([]byte, error) {
				return AppendError(nil, e, m.RawID, "ZODB.POSException.POSKeyError", Tuple{zodb.OID(99)})
			},
		},
		{
			"invalidateTransaction",
			"80 03 28 4b00 88 58 15000000 696e76616c69646174655472616e73616374696f6e 43 08 0000000000000005 5d 28 43 08 0000000000000001 43 08 0000000000000002 65 86 74 2e",
			"94 00 c3 b5 696e76616c69646174655472616e73616374696f6e 92 c4 08 0000000000000005 92 c4 08 0000000000000001 c4 08 0000000000000002",
			Message{ID: int64(0), Flag: true, Name: "invalidateTransaction"},
			func(e Encoding, m Message) ([]byte, error) {
				return AppendCall(nil, e, "invalidateTransaction", zodb.TID(5), []zodb.OID{1, 2})
			},
		},
		{
			"keep-alive",
			"80 03 28 4affffffff 4b00 58 06000000 2e7265706c79 4e 74 2e",
			"94 ff 00 a6 2e7265706c79 c0",
			Message{ID: int64(-1), Flag: int64(0), Name: ".reply"},
			func(e Encoding, m Message) ([]byte, error) { return AppendReply(nil, e, m.RawID, nil) },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for e, text := range map[Encoding]string{Pickle: tc.pickle, Msgpack: tc.msgpack} {
				frame := unhex(t, text)
				got, err := Decode(e, frame)
				if err != nil {
					t.Fatal(err)
				}
				again, err := tc.write(e, got)
				if err != nil || !bytes.Equal(again, frame) {
					t.Errorf("%c: got %x, %v\nwant %x", e, again, err, frame)
				}
				if !bytes.Contains(frame[:2+len(got.RawID)+2], got.RawID) || len(got.RawID) == 0 {
					t.Errorf("%c: raw id %x of %x", e, got.RawID, frame)
				}
				got.RawID = nil
				if tc.name == "invalidateTransaction" {
					got.Args = nil // a list or a tuple
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("%c (-want +got):\n%s", e, diff)
				}
			}
		})
	}
}

// TestIDIsEchoedInItsType sends ids of all kinds and looks at the ids of the replies.
func TestIDIsEchoedInItsType(t *testing.T) {
	t.Parallel()
	rest := "\x89X\x04\x00\x00\x00ping)t."
	for _, tc := range []struct {
		name, id, want string // want empty: as it is
		rest           string
	}{
		{name: "small integer", id: "K\x05"},
		{name: "small integer in a long form", id: "J\x05\x00\x00\x00"},
		{name: "huge integer", id: "\x8a\x0a0123456789"},
		{name: "none", id: "N"},
		{name: "float", id: "G\x3f\xf8\x00\x00\x00\x00\x00\x00"},
		{name: "text", id: "X\x02\x00\x00\x00id"},
		{name: "Python 2 string", id: "U\x02id"},
		{name: "empty tuple", id: ")"},
		{name: "tuple of five", id: "(K\x01K\x02K\x03K\x04K\x05t"},
		{name: "nested", id: "K\x01K\x02\x86\x85"},
		{name: "list", id: "](K\x01K\x02e"},
		{name: "list made at once", id: "(K\x01K\x02l"},
		{name: "dict", id: "}K\x01K\x02s"},
		{name: "set", id: "cbuiltins\nset\n]K\x01a\x85R"},
		{name: "with memo", id: "C\x01xq\x00h\x00\x86q\x01", want: "C\x01xC\x01x\x86"},
		{name: "memo set at its end", id: "C\x01xq\x00", want: "C\x01x"},
		{name: "memo after it", id: "K\x01", rest: "\x89X\x04\x00\x00\x00pingq\x00)q\x01tq\x02.", want: "K\x01"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.rest == "" {
				tc.rest = rest
			}
			for _, head := range []string{"", "\x80\x02", "\x80\x03"} {
				m, err := Decode(Pickle, []byte(head+"("+tc.id+tc.rest))
				if err != nil {
					t.Fatal(err)
				}
				want := tc.id
				if tc.want != "" {
					want = tc.want
				}
				if m.Name != "ping" || string(m.RawID) != want {
					t.Errorf("%s, id %q, want %q", m.Name, m.RawID, want)
				}
			}
		})
	}
}

// TestMessageMayBeAList decodes four-element lists, of which the id is encoded again.
func TestMessageMayBeAList(t *testing.T) {
	t.Parallel()
	for _, frame := range []string{
		"\x80\x03](J\x07\x00\x00\x00\x89X\x04\x00\x00\x00ping)e.",
		"(J\x07\x00\x00\x00\x89X\x04\x00\x00\x00ping)l.",
		"(J\x07\x00\x00\x00\x89X\x04\x00\x00\x00ping)tq\x00.",
	} {
		m, err := Decode(Pickle, []byte(frame))
		if err != nil || m.Name != "ping" || string(m.RawID) != "K\x07" {
			t.Errorf("%q: %+v, %v", frame, m, err)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		flag any
		want bool
	}{
		{nil, false}, {false, false}, {int64(0), false}, {0.0, false}, {"", false}, {[]byte{}, false},
		{Tuple{}, false}, {List{}, false}, {Dict{}, false}, {Set{}, false}, {complexNumber(0), false}, {new(big.Int), false},
		{true, true}, {int64(2), true}, {-0.5, true}, {"0", true}, {[]byte{0}, true}, {Tuple{nil}, true}, {List{nil}, true},
		{Dict{{nil, nil}}, true}, {Set{Items: []any{nil}}, true}, {complexNumber(1i), true}, {big.NewInt(1), true}, {Prefix{}, true},
	} {
		request, reply := Message{Flag: tc.flag, Name: "vote"}, Message{Flag: tc.flag, Name: ".reply"}
		if request.OneWay() != tc.want || reply.Failed() != tc.want || request.Failed() {
			t.Errorf("%#v: one-way %v, failed %v, want %v", tc.flag, request.OneWay(), reply.Failed(), tc.want)
		}
	}
}

// TestRefusedMessagesLeaveTheBuffer asks for messages that cannot be sent.
func TestRefusedMessagesLeaveTheBuffer(t *testing.T) {
	t.Parallel()
	deep := func(n int) any {
		var v any
		for range n {
			v = List{v}
		}
		return v
	}
	huge := new(big.Int).Lsh(big.NewInt(1), 64)
	const both = "ZM"
	for _, tc := range []struct {
		name      string
		encodings string
		v         any
	}{
		{"set", both, Set{}},
		{"complex", both, complexNumber(1i)},
		{"prefix", both, Prefix{}},
		{"unknown type", both, struct{}{}},
		{"pointer", both, new(int)},
		{"too deep", both, deep(300)},
		{"uint64 of 64 bits", both, uint64(1 << 63)},
		{"nil integer", both, (*big.Int)(nil)},
		{"text of wrong bytes", both, "\xff"},
		{"in a list", both, List{1, Dict{{"a", Tuple{Set{}}}}}},
		{"list as key", both, Dict{{List{}, 1}}},
		{"set as key in a tuple", both, Dict{{Tuple{Set{}}, 1}}},
		{"huge integer", "M", huge},
		{"integer as key", "M", Dict{{1, 1}}},
		{"tuple as key", "M", Dict{{Tuple{}, 1}}},
		{"surrogate", "M", "\xed\xa0\x80"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, e := range tc.encodings {
				e := Encoding(e)
				dst := append(make([]byte, 0, 1000), "before"...)
				for name, f := range map[string]func() ([]byte, error){
					"reply":   func() ([]byte, error) { return AppendReply(dst, e, nil, tc.v) },
					"error":   func() ([]byte, error) { return AppendError(dst, e, nil, "E", tc.v) },
					"call":    func() ([]byte, error) { return AppendCall(dst, e, "info", tc.v) },
					"request": func() ([]byte, error) { return AppendRequest(dst, e, 1, false, "ping", tc.v) },
					"id":      func() ([]byte, error) { return AppendRequest(dst, e, tc.v, false, "ping") },
				} {
					out, err := f()
					if err == nil || string(out) != "before" {
						t.Errorf("%c, %s: %q, %v", e, name, out, err)
					}
				}
			}
		})
	}
	if out, err := AppendReply([]byte("b"), 'X', nil, nil); err == nil || string(out) != "b" {
		t.Errorf("unknown encoding: %q, %v", out, err)
	}
	if _, err := Decode('X', []byte("N.")); err == nil {
		t.Error("decodes an unknown encoding")
	}
}

// TestExpressibleLeavesOutWhatCannotBeSent keeps the rest in its order.
func TestExpressibleLeavesOutWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	d := Dict{{"a", int64(1)}, {"b", Set{}}, {int64(3), "c"}, {"d", List{complexNumber(1)}}, {"e", nil}}
	if diff := cmp.Diff(Dict{d[0], d[2], d[4]}, d.Expressible(Pickle)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Dict{d[0], d[4]}, d.Expressible(Msgpack)); diff != "" {
		t.Error(diff)
	}
	if got := d[:1].Expressible(Msgpack); len(got) != 1 || &got[0] != &d[0] {
		t.Error("a dict without such entries is copied")
	}
	if got := d[1:2].Expressible(Msgpack); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// TestLoadedIsAReply compares the fast way with the general one.
func TestLoadedIsAReply(t *testing.T) {
	t.Parallel()
	for _, e := range []Encoding{Pickle, Msgpack} {
		for _, size := range []int{0, 1, 255, 256, 65535, 65536, 100_000} {
			for _, end := range []zodb.TID{0, 7} {
				for _, id := range []string{"", "some id"} {
					data := bytes.Repeat([]byte{'x'}, size)
					var last any
					if end != 0 {
						last = end
					}
					want, err := AppendReply([]byte("b"), e, []byte(id), Tuple{data, zodb.TID(5), last})
					if err != nil {
						t.Fatal(err)
					}
					if got := AppendLoaded([]byte("b"), e, []byte(id), data, 5, end); !bytes.Equal(got, want) {
						t.Errorf("%c, %d bytes: got %.100x\nwant %.100x", e, size, got, want)
					}
				}
			}
		}
	}
}

// TestLoadBeforeIsRecognised checks the forms that clients send, and forms that are left to Decode.
func TestLoadBeforeIsRecognised(t *testing.T) {
	t.Parallel()
	pair := Tuple{zodb.OID(0x0102030405060708), maxTID}
	for _, e := range []Encoding{Pickle, Msgpack} {
		for _, id := range []any{
			pair, int64(0), int64(127), int64(128), int64(255), int64(256), int64(65535), int64(65536),
			int64(1<<31 - 1), int64(1 << 31), int64(1 << 40), int64(1<<63 - 1),
		} {
			frame, err := AppendRequest(nil, e, id, false, "loadBefore", pair...)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Decode(e, frame)
			if err != nil {
				t.Fatal(err)
			}
			raw, oid, tid, ok := LoadBefore(e, frame)
			if !ok || oid != pair[0] || tid != pair[1] || !bytes.Equal(raw, m.RawID) {
				t.Errorf("%c, id %v: %x %v %v %v", e, id, raw, oid, tid, ok)
			}
		}
		for name, frame := range map[string]func() ([]byte, error){
			"one-way":     func() ([]byte, error) { return AppendRequest(nil, e, 1, true, "loadBefore", pair...) },
			"other name":  func() ([]byte, error) { return AppendRequest(nil, e, 1, false, "loadSerial", pair...) },
			"ignored id":  func() ([]byte, error) { return AppendRequest(nil, e, -1, false, "loadBefore", pair...) },
			"negative id": func() ([]byte, error) { return AppendRequest(nil, e, int64(-1<<40), false, "loadBefore", pair...) },
			"other id":    func() ([]byte, error) { return AppendRequest(nil, e, "id", false, "loadBefore", pair...) },
			"short oid":   func() ([]byte, error) { return AppendRequest(nil, e, 1, false, "loadBefore", []byte("a"), maxTID) },
			"one argument": func() ([]byte, error) {
				return AppendRequest(nil, e, 1, false, "loadBefore", zodb.OID(1))
			},
			"three arguments": func() ([]byte, error) {
				return AppendRequest(nil, e, 1, false, "loadBefore", zodb.OID(1), maxTID, maxTID)
			},
			"text for bytes": func() ([]byte, error) {
				return AppendRequest(nil, e, 1, false, "loadBefore", "12345678", maxTID)
			},
			"empty": func() ([]byte, error) { return nil, nil },
		} {
			b, err := frame()
			if err != nil {
				t.Fatal(err)
			}
			if _, _, _, ok := LoadBefore(e, b); ok {
				t.Errorf("%c: %s is recognised", e, name)
			}
		}
	}
	if _, _, _, ok := LoadBefore('X', loadRequest(t, Pickle, int64(1))); ok {
		t.Error("an unknown encoding is recognised")
	}
}

// TestRecordedLoadsTakeTheFastWay looks for requests of real clients that are missed.
func TestRecordedLoadsTakeTheFastWay(t *testing.T) {
	t.Parallel()
	count := 0
	for _, r := range readRecorded(t) {
		m, err := Decode(r.encoding, r.payload)
		if err != nil || !r.toServer {
			continue
		}
		raw, oid, tid, ok := LoadBefore(r.encoding, r.payload)
		if ok != (m.Name == "loadBefore") {
			t.Errorf("%s:%d: %s: recognised %v", r.file, r.line, m.Name, ok)
		}
		if !ok {
			continue
		}
		count++
		if diff := cmp.Diff(m.Args, any(Tuple{oid.Bytes(), tid.Bytes()})); diff != "" || !bytes.Equal(raw, m.RawID) {
			t.Errorf("%s:%d: %x, %s", r.file, r.line, raw, diff)
		}
	}
	if count < 30 {
		t.Errorf("only %d loads", count)
	}
}

// TestLoadsDoNotAllocate keeps the two functions that each load takes free of garbage.
func TestLoadsDoNotAllocate(t *testing.T) {
	for _, e := range []Encoding{Pickle, Msgpack} {
		frame := loadRequest(t, e, Tuple{zodb.OID(1), maxTID})
		data := make([]byte, 500)
		out := make([]byte, 0, 1000)
		got := testing.AllocsPerRun(100, func() {
			raw, _, tid, ok := LoadBefore(e, frame)
			if !ok {
				t.Fatal("not recognised")
			}
			out = AppendLoaded(out[:0], e, raw, data, tid, tid)
		})
		if got != 0 {
			t.Errorf("%c: %v allocations", e, got)
		}
	}
}

// TestListsOfOIDs compares []zodb.OID with a list, around the length of a run, and reads back
// as many as a large transaction has.
func TestListsOfOIDs(t *testing.T) {
	t.Parallel()
	for _, e := range []Encoding{Pickle, Msgpack} {
		for _, n := range []int{0, 1, 2, 999, 1000, 1001, 2000, 2001, 300_000} {
			oids := make([]zodb.OID, n)
			list := make(List, n)
			for i := range oids {
				oids[i] = zodb.OID(i)
				list[i] = zodb.OID(i)
			}
			got, err := AppendCall(nil, e, "invalidateTransaction", maxTID, oids)
			if err != nil {
				t.Fatal(err)
			}
			want, err := AppendCall(nil, e, "invalidateTransaction", maxTID, list)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%c, %d oids: %.50x, %v\nwant %.50x", e, n, got, err, want)
			}
			m, err := Decode(e, got)
			if err != nil {
				t.Fatal(err)
			}
			var items []any
			switch v := m.Args.(Tuple)[1].(type) {
			case List:
				items = v
			case Tuple:
				items = v
			}
			if len(items) != n || n > 0 && !bytes.Equal(items[n-1].([]byte), zodb.OID(n-1).Bytes()) {
				t.Errorf("%c: %d oids become %d", e, n, len(items))
			}
		}
	}
}

// TestRunsAreThoseOfPython ends lists and dicts as Python's pickler does: only a single item goes alone.
func TestRunsAreThoseOfPython(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		n          int
		list, dict string // ends
	}{
		{1, "]K\x01a", "}M\x00\x10K\x01s"},
		{2, "](K\x01K\x01e", "}(M\x00\x10K\x01M\x01\x10K\x01u"},
		{1000, "K\x01K\x01e", "M\xe7\x13K\x01u"},
		{1001, "K\x01e(K\x01e", "K\x01u(M\xe8\x13K\x01u"},
	} {
		var l List
		var d Dict
		for i := range tc.n {
			l = append(l, 1)
			d = append(d, Pair{0x1000 + i, 1})
		}
		for v, want := range map[string]any{tc.list: l, tc.dict: d} {
			got, err := pickler{}.append(nil, want, 1)
			if err != nil || !bytes.HasSuffix(got, []byte(v)) {
				t.Errorf("%d: ends with %q, %v, want %q", tc.n, got[max(0, len(got)-12):], err, v)
			}
		}
	}
}
