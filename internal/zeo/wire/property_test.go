package wire

import (
	"bytes"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// values generates Values as decoders return them.
func values(e Encoding, classes bool) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Just[any](nil),
		rapid.Bool().AsAny(),
		rapid.Int64().AsAny(),
		rapid.Int64Range(-300, 70000).AsAny(),
		rapid.Float64().AsAny(),
		rapid.String().AsAny(),
		rapid.SliceOf(rapid.Byte()).AsAny(),
		rapid.Map(rapid.IntRange(250, 260), func(n int) any { return make([]byte, n) }),
		rapid.Custom(func(t *rapid.T) any { return bigValue(t, e) }),
	}
	if classes {
		leaves = append(leaves, rapid.Custom(func(t *rapid.T) any {
			return complexNumber(complex(rapid.Float64().Draw(t, "re"), rapid.Float64().Draw(t, "im")))
		}))
	}
	leaf := rapid.OneOf(leaves...)
	keys := []*rapid.Generator[any]{rapid.String().AsAny(), rapid.SliceOf(rapid.Byte()).AsAny()}
	if e == Pickle {
		keys = append(keys, rapid.Int64().AsAny(), rapid.Just[any](Tuple{int64(1), "x"}))
	}
	key := rapid.OneOf(keys...)
	value := leaf
	for range 3 {
		inner := value // generators are made once, as that takes longer than drawing
		items := rapid.SliceOfN(inner, 0, 4)
		pair := rapid.Custom(func(t *rapid.T) Pair { return Pair{key.Draw(t, "key"), inner.Draw(t, "value")} })
		containers := []*rapid.Generator[any]{
			leaf,
			rapid.Map(items, func(v []any) any { return Tuple(v) }),
			rapid.Map(rapid.SliceOfN(pair, 0, 4), func(d []Pair) any { return unique(d) }),
		}
		if e == Pickle {
			containers = append(containers, rapid.Map(items, func(v []any) any { return List(v) }))
		}
		if classes {
			set := rapid.Map(rapid.SliceOfN(leaf, 0, 3), func(v []any) any { return Set{Items: v} })
			frozen := rapid.Map(rapid.SliceOfN(leaf, 0, 3), func(v []any) any { return Set{Items: v, Frozen: true} })
			containers = append(containers, set, frozen)
		}
		value = rapid.OneOf(containers...)
	}
	return value
}

// bigValue generates an integer that doesn't fit into an int64.
func bigValue(t *rapid.T, e Encoding) any {
	if e == Msgpack {
		return new(big.Int).SetUint64(rapid.Uint64Min(1<<63).Draw(t, "uint64"))
	}
	v := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 8, 20).Draw(t, "digits"))
	v.SetBit(v, 63+rapid.IntRange(0, 10).Draw(t, "bit"), 1)
	if rapid.Bool().Draw(t, "negative") {
		v.Neg(v).Sub(v, big.NewInt(1))
	}
	return v
}

// describeMessage is a text of all fields but RawID. Comparing texts takes a
// small part of the time of cmp.Diff here.
func describeMessage(m Message) string { return describe(Tuple{m.ID, m.Flag, m.Name, m.Args}) }

// TestWhatIsEncodedIsDecoded is the round trip of any values in both encodings.
func TestWhatIsEncodedIsDecoded(t *testing.T) {
	t.Parallel()
	for _, e := range []Encoding{Pickle, Msgpack} {
		v := values(e, false)
		args := rapid.SliceOfN(v, 0, 4)
		rapid.Check(t, func(t *rapid.T) {
			want := Message{
				ID: v.Draw(t, "id"), Flag: rapid.Bool().Draw(t, "one-way"), Name: rapid.String().Draw(t, "name"),
				Args: Tuple(args.Draw(t, "args")),
			}
			frame, err := AppendRequest(nil, e, want.ID, want.Flag.(bool), want.Name, want.Args.(Tuple)...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(e, frame)
			if err != nil {
				t.Fatal(err)
			}
			if describeMessage(got) != describeMessage(want) {
				t.Fatalf("sent     %s\nreceived %s", describeMessage(want), describeMessage(got))
			}
			rawID := bytes.Clone(got.RawID)
			result := v.Draw(t, "result")
			if frame, err = AppendReply(frame[:0], e, rawID, result); err != nil {
				t.Fatal(err)
			}
			if got, err = Decode(e, frame); err != nil {
				t.Fatal(err)
			}
			want = Message{ID: want.ID, Flag: int64(0), Name: replyName, Args: result}
			if describeMessage(got) != describeMessage(want) || !bytes.Equal(got.RawID, rawID) {
				t.Fatalf("sent     %s\nreceived %s", describeMessage(want), describeMessage(got))
			}
		})
	}
}

// TestExtensionsAreStored is the round trip of extensions, with the classes that they may have.
func TestExtensionsAreStored(t *testing.T) {
	t.Parallel()
	v := values(Pickle, true)
	rapid.Check(t, func(t *rapid.T) {
		var want Dict
		for _, key := range rapid.SliceOfNDistinct(rapid.String(), 0, 14, rapid.ID).Draw(t, "keys") {
			want = append(want, Pair{key, v.Draw(t, "value")})
		}
		stored, err := PickleDict(want, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if got := UnpickleDict(stored); describe(got) != describe(want) {
			t.Fatalf("stored %s\nread   %s", describe(want), describe(got))
		}
	})
}

// FuzzDecodePickle decodes anything; a decoded value can be written and read again.
func FuzzDecodePickle(f *testing.F) {
	for _, tc := range hostile {
		if tc.encoding == Pickle && len(tc.frame) < 1000 {
			f.Add([]byte(tc.frame))
		}
	}
	addRecorded(f, Pickle)
	f.Fuzz(func(t *testing.T, frame []byte) { fuzzDecode(t, Pickle, frame) })
}

// FuzzDecodeMsgpack is the same for msgpack.
func FuzzDecodeMsgpack(f *testing.F) {
	for _, tc := range hostile {
		if tc.encoding == Msgpack && len(tc.frame) < 1000 {
			f.Add([]byte(tc.frame))
		}
	}
	addRecorded(f, Msgpack)
	f.Fuzz(func(t *testing.T, frame []byte) { fuzzDecode(t, Msgpack, frame) })
}

func addRecorded(f *testing.F, e Encoding) {
	f.Helper()
	for _, r := range readRecorded(f) {
		if r.encoding == e && len(r.payload) < 1000 {
			f.Add(r.payload)
		}
	}
}

func fuzzDecode(t *testing.T, e Encoding, frame []byte) {
	before := bytes.Clone(frame)
	m, err := Decode(e, frame)
	if !bytes.Equal(frame, before) {
		t.Fatal("the frame was changed")
	}
	raw, oid, tid, isLoad := LoadBefore(e, frame)
	if err != nil {
		if isLoad {
			t.Fatalf("a load that Decode refuses: %v", err)
		}
		return
	}
	if isLoad {
		want := any(Tuple{oid.Bytes(), tid.Bytes()})
		if m.Name != "loadBefore" || m.OneWay() || m.ID == int64(-1) || !bytes.Equal(raw, m.RawID) || describe(m.Args) != describe(want) {
			t.Fatalf("%x, %v, %v is not %+v", raw, oid, tid, m)
		}
	}
	if len(m.RawID) == 0 {
		t.Fatal("no id")
	}
	// The id in a reply is that of the request.
	reply, err := AppendReply(nil, e, m.RawID, nil)
	if err != nil {
		t.Fatal(err)
	}
	echo, err := Decode(e, reply)
	if err != nil || describe(m.ID) != describe(echo.ID) || echo.Args != nil || echo.Name != replyName {
		t.Fatalf("the reply to %+v is %+v, %v", m, echo, err)
	}
	// A writable value is read as the same. Values that only a few may write are tried with all
	// classes.
	result, err := appendClasses(e, m.Args)
	if err != nil {
		if bytes.Contains(frame, []byte("Prefix")) {
			return
		}
		t.Fatal(err)
	}
	checkSize(t, frame, result)
	again, err := Decode(e, result)
	if err != nil || describe(m.Args) != describe(again.Args) {
		t.Fatalf("%v becomes %v, %v", m.Args, again.Args, err)
	}
}

// appendClasses returns a reply with all values that decoders return, but Prefix.
func appendClasses(e Encoding, v any) ([]byte, error) {
	if e == Msgpack {
		return AppendReply(nil, e, nil, v)
	}
	b, err := pickler{classes: true}.append([]byte(pickleHead+"K\x00"+pickleResult), v, 2)
	return append(b, pickleTail...), err
}
