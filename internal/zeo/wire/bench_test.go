package wire

import (
	"bytes"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

func benchmarkBoth(b *testing.B, f func(b *testing.B, e Encoding)) {
	b.Helper()
	for _, e := range []Encoding{Pickle, Msgpack} {
		b.Run(string(rune(e)), func(b *testing.B) {
			b.ReportAllocs()
			f(b, e)
		})
	}
}

func loadRequest(tb testing.TB, e Encoding, id any) []byte {
	tb.Helper()
	frame, err := AppendRequest(nil, e, id, false, "loadBefore", zodb.OID(1), zodb.TID(1<<63-1))
	if err != nil {
		tb.Fatal(err)
	}
	return frame
}

func BenchmarkLoadBefore(b *testing.B) {
	benchmarkBoth(b, func(b *testing.B, e Encoding) {
		frame := loadRequest(b, e, Tuple{zodb.OID(1), zodb.TID(1<<63 - 1)})
		for b.Loop() {
			if _, _, _, ok := LoadBefore(e, frame); !ok {
				b.Fatal("not recognised")
			}
		}
	})
}

func BenchmarkAppendLoaded(b *testing.B) {
	data := bytes.Repeat([]byte("x"), 500)
	benchmarkBoth(b, func(b *testing.B, e Encoding) {
		rawID := []byte("\x92\xc4\x08........\xc4\x08........")
		var out []byte
		for b.Loop() {
			out = AppendLoaded(out[:0], e, rawID, data, 5, 0)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	data := bytes.Repeat([]byte("x"), 500)
	benchmarkBoth(b, func(b *testing.B, e Encoding) {
		requests := map[string][]byte{"loadBefore": loadRequest(b, e, Tuple{zodb.OID(1), zodb.TID(1<<63 - 1)})}
		requests["storea"], _ = AppendRequest(nil, e, 0, true, "storea", zodb.OID(1), zodb.TID(2), data, "", int64(1<<40))
		requests["tpc_begin"], _ = AppendRequest(nil, e, 0, true, "tpc_begin", int64(1<<40), []byte("user"), []byte("/a/b"),
			Dict{{"request", "/a/b"}}, nil, " ")
		requests["loaded"] = AppendLoaded(nil, e, nil, data, 5, 0)
		for name, frame := range requests {
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Decode(e, frame); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

func BenchmarkAppendReply(b *testing.B) {
	benchmarkBoth(b, func(b *testing.B, e Encoding) {
		var v any = Tuple{[]byte("data"), zodb.TID(5), nil}
		var out []byte
		for b.Loop() {
			out, _ = AppendReply(out[:0], e, nil, v)
		}
	})
}

// endless gives the same bytes for ever.
type endless struct {
	b  []byte
	at int
}

func (r *endless) Read(b []byte) (int, error) {
	n := copy(b, r.b[r.at:])
	r.at = (r.at + n) % len(r.b)
	return n, nil
}

func BenchmarkReader(b *testing.B) {
	frame, _ := AppendFrame(nil, func(b []byte) ([]byte, error) { return append(b, make([]byte, 63)...), nil })
	b.ReportAllocs()
	r := NewReader(&endless{b: bytes.Repeat(frame, 1000)}, 1<<20)
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
