package pickle_test

import (
	"bytes"
	"compress/zlib"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle"
	. "github.com/dirstorage/dirstorage/internal/pickle/pickletest"
)

func render(t testing.TB, record []byte, o pickle.RenderOptions) *pickle.Text {
	t.Helper()
	tree, err := pickle.Parse(record, pickle.Limits{Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if o.Limit == 0 {
		o.Limit = 4000
	}
	return tree.Render(o)
}

func TestBTreesAreShownAsMappings(t *testing.T) {
	t.Parallel()
	bucket := Tuple(Tuple(Text("a"), Int(1), Text("b"), Ref(5, "x", "Y")), Ref(6, "BTrees.OOBTree", "OOBucket"))
	for _, tc := range []struct{ name, class, state, want string }{
		{"bucket", "OOBucket", bucket, "OOBucket({\n  'a': 1,\n  'b': persistent ref 0000000000000005 (x.Y),\n})\n" +
			"next bucket: persistent ref 0000000000000006 (BTrees.OOBTree.OOBucket)"},
		{"set", "OOSet", Tuple(Tuple(Text("a"), Text("b"))), "OOSet([\n  'a',\n  'b',\n])"},
		{"empty", "OOBTree", None, "OOBTree()"},
		{"tree of one bucket", "OOBTree", Tuple(Tuple(Tuple(Tuple(Text("a"), Int(1))))), "OOBTree({\n  'a': 1,\n})"},
		{"tree", "OOBTree", Tuple(Tuple(Ref(1, "b", "B"), Text("m"), Ref(2, "b", "B")), Ref(1, "b", "B")),
			"OOBTree([\n  persistent ref 0000000000000001 (b.B),\n  from 'm': persistent ref 0000000000000002 (b.B),\n])\n" +
				"first bucket: persistent ref 0000000000000001 (b.B)"},
		{"tree set of one", "OOTreeSet", Tuple(Tuple(Tuple(Tuple(Text("a"))))), "OOTreeSet([\n  'a',\n])"},
		{"odd items", "OOBucket", Tuple(Tuple(Text("a"))), "(('a',),)"},
		{"length", "Length", Int(7), "7"},
		{"children that do not alternate", "OOBTree", Tuple(Tuple(Int(1), Int(2)), None), "((1, 2), None)"},
		{"text in the place of a bucket", "OOBTree", Tuple(Text("a")), "('a',)"},
		{"items in the place of a bucket", "OOBTree", Tuple(Tuple(Tuple(Text("a"), Int(1)))), "((('a', 1),),)"},
	} {
		if got := render(t, Object("BTrees.OOBTree", tc.class, tc.state), pickle.RenderOptions{}).String; got != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
}

// TestBTreesOfPythonAreShownAsMappings: these are the bytes that BTrees 4.3.1 wrote.
func TestBTreesOfPythonAreShownAsMappings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ record, want string }{
		{"\x80\x03cBTrees.OOBTree\nOOBTree\nq\x00.\x80\x03X\x01\x00\x00\x00aq\x01K\x01\x86q\x02\x85q\x03\x85q\x04\x85q\x05.", "OOBTree({\n  'a': 1,\n})"},
		{"\x80\x03cBTrees.OOBTree\nOOTreeSet\nq\x00.\x80\x03X\x01\x00\x00\x00aq\x01X\x01\x00\x00\x00bq\x02\x86q\x03\x85q\x04\x85q\x05\x85q\x06.",
			"OOTreeSet([\n  'a',\n  'b',\n])"},
		{"\x80\x03cBTrees.IOBTree\nIOBTree\nq\x00.\x80\x03K\x05X\x04\x00\x00\x00fiveq\x01\x86q\x02\x85q\x03\x85q\x04\x85q\x05.", "IOBTree({\n  5: 'five',\n})"},
		{"\x80\x03cBTrees.OOBTree\nOOBTree\nq\x00.\x80\x03N.", "OOBTree()"},
		{"\x80\x03cBTrees.OOBTree\nOOBucket\nq\x00.\x80\x03X\x01\x00\x00\x00aq\x01K\x01\x86q\x02\x85q\x03.", "OOBucket({\n  'a': 1,\n})"},
		{"\x80\x03cBTrees.OOBTree\nOOSet\nq\x00.\x80\x03X\x01\x00\x00\x00aq\x01\x85q\x02\x85q\x03.", "OOSet([\n  'a',\n])"},
	} {
		if got := render(t, []byte(tc.record), pickle.RenderOptions{}).String; got != tc.want {
			t.Errorf("got\n%s\nwant\n%s", got, tc.want)
		}
	}
}

func TestKnownClassesAreShownAsAHumanWritesThem(t *testing.T) {
	t.Parallel()
	moment := Bytes("\x07\xe8\x03\x01\x0a\x00\x05\x00\x00\x00")
	for _, tc := range []struct{ name, state, want string }{
		{"with a zone", Call(Global("datetime", "datetime"), Tuple(moment, Call(Global("pytz", "_UTC"), Tuple(), "")), ""),
			"datetime.datetime(2024, 3, 1, 10, 0, 5, tzinfo=pytz._UTC())"},
		{"time", Call(Global("datetime", "time"), Tuple(Bytes("\x0a\x1e\x05\x00\x00\x01")), ""), "datetime.time(10, 30, 5, 1)"},
		{"reconstructor", Call(Global("copy_reg", "_reconstructor"), Tuple(Global("a", "B"), Global("__builtin__", "object"), None), Dict(Text("x"), Int(1))),
			"a.B(state={'x': 1})"},
		{"reconstructor with data", Call(Global("copy_reg", "_reconstructor"), Tuple(Global("a", "B"), Global("__builtin__", "int"), Int(3)), ""),
			"copy_reg._reconstructor(a.B, __builtin__.int, 3)"},
	} {
		if got := render(t, Object("m", "C", tc.state), pickle.RenderOptions{}).String; got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestTextForComparisons(t *testing.T) {
	t.Parallel()
	state := Dict(Text("body"), Text("first\nsecond \U0001f600\n<third>"), Text("one line"), Text("x\n"), Text("raw"), Bytes("a\n\xff"),
		Text("set"), Call(Global("__builtin__", "set"), Tuple(List(Text("b"), Text("a"))), ""),
		Text("new set"), "\x8f("+Text("z")+Text("y")+"\x90")
	got := render(t, Object("m", "C", state), pickle.RenderOptions{Lines: true, SortSets: true}).String
	want := `{
  'body': (
    'first\n'
    'second 😀\n'
    '<third>'
  ),
  'one line': 'x\n',
  'raw': (
    b'a\n'
    b'\xff'
  ),
  'set': set(['a', 'b']),
  'new set': set(['y', 'z']),
}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	long := render(t, Object("m", "C", Text(strings.Repeat("line\n", 100))), pickle.RenderOptions{Lines: true, StringLimit: 12}).String
	if want := "(\n  'line\\n'\n  'line\\n'\n  'li'… (500 bytes)\n)"; long != want {
		t.Errorf("a long string: got\n%s\nwant\n%s", long, want)
	}
}

func TestLinksLieInTheText(t *testing.T) {
	t.Parallel()
	state := Dict(Text("near"), Ref(1, "a", "A"), Text("list"), List(Ref(2, "a", "A"), Ref(3, "a", "A"), Text(strings.Repeat("x", 80))))
	text := render(t, Object("m", "C", state), pickle.RenderOptions{})
	var got []string
	for _, l := range text.Links {
		got = append(got, text.String[l.Start:l.End]+" → "+l.Ref.OID.String()+" "+l.Ref.Class)
	}
	want := []string{
		"persistent ref 0000000000000001 (a.A) → 0000000000000001 a.A",
		"persistent ref 0000000000000002 (a.A) → 0000000000000002 a.A",
		"persistent ref 0000000000000003 (a.A) → 0000000000000003 a.A",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestHostileRecordsHaveBoundedText is about records whose text would be endless.
func TestHostileRecordsHaveBoundedText(t *testing.T) {
	t.Parallel()
	double := Text("bomb") + strings.Repeat("2\x86", 60) // 2^60 leaves
	deep := strings.Repeat("]", 300_000) + strings.Repeat("a", 299_999)
	inTuples := "N" + strings.Repeat("\x85", 300_000)
	self := "]q\x00" + strings.Repeat("h\x00a", 100_000)
	sets := "\x8f(" + Text("a") + "\x90" + strings.Repeat("2\x86\x85", 40)
	for name, state := range map[string]string{"doubled": double, "deep": deep, "tuples": inTuples, "itself": self, "sets": sets,
		"long": Text(strings.Repeat("\n", 3<<20)), "many": List(strings.Repeat("N", 1<<20))} {
		for _, o := range []pickle.RenderOptions{{Limit: 2000}, {Limit: 100_000, StringLimit: 50_000, Lines: true, SortSets: true}} {
			text := render(t, Object("m", "C", state), o)
			if len(text.String) > o.Limit+len("…") {
				t.Errorf("%s: %d bytes of text, limit %d", name, len(text.String), o.Limit)
			}
			if strings.HasSuffix(text.String, "…") != text.Cut {
				t.Errorf("%s: cut is %v, and the text ends with %q", name, text.Cut, text.String[max(0, len(text.String)-10):])
			}
		}
	}
}

func TestParseKeepsItsLimits(t *testing.T) {
	t.Parallel()
	many := Object("m", "C", "]("+strings.Repeat("N", 1<<20)+"e")
	if _, err := pickle.Parse(many, pickle.Limits{Memory: 1 << 20}); !errors.Is(err, pickle.ErrTooComplex) {
		t.Errorf("a million values in 1 MiB: %v", err)
	}
	refs := Object("m", "C", "]C\x0812345678q\x00"+strings.Repeat("h\x00Q0", 1<<18))
	if _, err := pickle.Parse(refs, pickle.Limits{Memory: 1 << 20}); !errors.Is(err, pickle.ErrTooComplex) {
		t.Errorf("many references in 1 MiB: %v", err)
	}
	var packed bytes.Buffer
	packed.WriteString(".z")
	z := zlib.NewWriter(&packed)
	if _, err := z.Write(Object("m", "C", Text(strings.Repeat("a", 8<<20)))); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := pickle.Parse(packed.Bytes(), pickle.Limits{Unpacked: 1 << 20}); !errors.Is(err, pickle.ErrTooLarge) {
		t.Errorf("a bomb of zlib: %v", err)
	}
	tree, err := pickle.Parse(packed.Bytes(), pickle.Limits{})
	if err != nil || tree.Size() < 8<<20 {
		t.Errorf("without a limit: %v", err)
	}
}

func TestValuesOfATree(t *testing.T) {
	t.Parallel()
	tree, err := pickle.Parse(Object("m", "C", Dict(Text("a"), Int(300), Text("ref"), Ref(9, "x", "Y"), Int(4), Tuple(Int(1), None),
		Text("inner"), Call(Global("a", "B"), Tuple(), Dict(Text("k"), Text("v"))))), pickle.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if module, name, ok := tree.Class(); module != "m" || name != "C" || !ok {
		t.Errorf("class %s.%s, %v", module, name, ok)
	}
	var got []string
	for k, v := range tree.State().Pairs() {
		line := k.Label(20) + ": " + v.Label(50)
		if n, ok := v.Integer(); ok && n == 300 {
			line += " integer"
		}
		if r, ok := v.Ref(); ok {
			line += " to " + r.OID.String()
		}
		if n, ok := v.Tuple(); ok && n == 2 && v.Element(1).IsNone() {
			line += " tuple"
		}
		if inner, ok := v.Inner(); ok {
			for k, v := range inner.Pairs() {
				name, _ := k.Text()
				value, _ := v.Text()
				line += " with " + name + "=" + value
			}
		}
		got = append(got, line)
	}
	want := []string{"'a': 300 integer", "'ref': persistent ref 0000000000000009 (x.Y) to 0000000000000009", "4: (1, None) tuple", "'inner': a.B(state={'k': 'v'}) with k=v"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	refs := 0
	for r := range tree.References() {
		if r.OID == 9 && r.Class == "x.Y" && r.Strong() {
			refs++
		}
	}
	if refs != 1 {
		t.Errorf("%d references", refs)
	}
}

// TestSetsWithinSetsEnd: each set has the one before it twice, so that it stands for 2^60 elements.
func TestSetsWithinSetsEnd(t *testing.T) {
	t.Parallel()
	const steps = 60
	sets := "(\x91\x94"
	for i := range steps {
		before := "h" + string([]byte{byte(i)})
		sets += "0(" + before + before + "\x85\x91\x94"
	}
	got := render(t, Object("m", "C", sets), pickle.RenderOptions{SortSets: true})
	if !got.Cut || len(got.String) > 5000 {
		t.Errorf("%d bytes, cut off %t", len(got.String), got.Cut)
	}
}

// TestClassOfAHostileRecordTakesLittle: megabytes of values come before its class.
func TestClassOfAHostileRecordTakesLittle(t *testing.T) {
	hometest.InTurn(t, 4)
	const values = 64 << 20
	record := append(bytes.Repeat([]byte("N"), values), []byte("cm\nC\n.N.")...)
	plain := Object("m", "C", Bytes(strings.Repeat("x", values)))
	for _, tc := range []struct {
		name   string
		class  func([]byte) (string, string, error)
		record []byte
		most   uint64 // bytes
		ok     bool
	}{
		{"whole", pickle.Class, record, 200 << 20, false},
		{"beginning", pickle.ClassAtOnce, record, 100 << 20, false},
		{"beginning of a bomb", pickle.ClassAtOnce, wrapped(t, record), 100 << 20, false},
		{"beginning of a long one", pickle.ClassAtOnce, wrapped(t, plain), 16 << 20, true},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		module, name, err := tc.class(tc.record)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > tc.most || (err == nil) != tc.ok || tc.ok && (module != "m" || name != "C") {
			t.Errorf("%s: %q, %q, %v; %d bytes", tc.name, module, name, err, took)
		}
	}
}

func wrapped(t testing.TB, record []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(".z")
	w := zlib.NewWriter(&b)
	if _, err := w.Write(record); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
