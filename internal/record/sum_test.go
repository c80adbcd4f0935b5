package record

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

func sumKinds() []SumKind { return []SumKind{NoSum, MD5, XXH64} }

// wrongTag returns a copy of a file with an XXH64 of which the tag is damaged.
func wrongTag(b []byte) []byte {
	at, _ := sumAt(b)
	return patched(b, at, 'X')
}

// TestGoldenSums compares each kind of checksum with the one that another program computed over the
// bytes that docs/format.md names.
func TestGoldenSums(t *testing.T) {
	t.Parallel()
	const tag = "7878683634000000" // “xxh64” and three zero bytes
	for _, tc := range []struct {
		name   string
		append func([]byte, SumKind) ([]byte, error)
		at     int
		md5    string
		xxh64  string
	}{
		{"revision", sampleObject.Append, 40, "2c29239209a1ac8952a2ea476c149d7f", tag + "1b922bf5354fdad7"},
		{"transaction", sampleTxn.Append, 32, "7e9d1ddffd250cd1fab4ac34d408cbd2", tag + "fb61cacb6c5a12d0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for kind, want := range map[SumKind]string{NoSum: strings.Repeat("00", 16), MD5: tc.md5, XXH64: tc.xxh64} {
				b := mustAppend(t, tc.append, kind)
				if got := hex.EncodeToString(b[tc.at : tc.at+16]); got != want {
					t.Errorf("kind %q: %s, want %s", kind, got, want)
				}
				if SumKindOf(b) != kind || SumFault(b) != "" {
					t.Errorf("kind %q is taken for %q, and its fault is %q", kind, SumKindOf(b), SumFault(b))
				}
			}
		})
	}
}

// TestEveryFlippedBitUnderTheSumIsFound flips each bit of the checksum and of the bytes below it, in
// records of chance with each kind of checksum.
func TestEveryFlippedBitUnderTheSumIsFound(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	chance := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	for range 20 {
		o := Object{OID: zodb.OID(rnd.Uint64()), Previous: zodb.TID(rnd.Uint64()), Serial: zodb.TID(rnd.Uint64()), Data: chance(rnd.IntN(100))}
		x := Transaction{TID: o.Serial, User: chance(rnd.IntN(20)), Description: chance(rnd.IntN(50)), OIDs: []zodb.OID{o.OID, 5}}
		for _, kind := range []SumKind{MD5, XXH64} {
			for _, b := range [][]byte{mustAppend(t, o.Append, kind), mustAppend(t, x.Append, kind)} {
				at, _ := sumAt(b)
				for bit := at * 8; bit < len(b)*8; bit++ {
					b[bit/8] ^= 1 << (bit % 8)
					_, objectErr := ParseObject(b, "p", true)
					_, txnErr := ParseTransaction(b, "p", true)
					if SumFault(b) == "" || objectErr == nil || txnErr == nil {
						t.Fatalf("bit %d of a file with %q is not found: %v, %v", bit, kind, objectErr, txnErr)
					}
					b[bit/8] ^= 1 << (bit % 8)
				}
				if fault := SumFault(b); fault != "" {
					t.Fatal(fault)
				}
			}
		}
	}
}

// TestFaultsOfSumsAreNamed: a damaged tag is told from a damaged sum and from damaged content.
func TestFaultsOfSumsAreNamed(t *testing.T) {
	t.Parallel()
	for _, f := range []func([]byte, SumKind) ([]byte, error){sampleObject.Append, sampleTxn.Append} {
		b := mustAppend(t, f, XXH64)
		at, from := sumAt(b)
		for _, tc := range []struct {
			name string
			b    []byte
			want string
		}{
			{"tag", wrongTag(b), `the kind of the checksum is "Xxh64\x00\x00\x00", want "xxh64\x00\x00\x00": the xxh64 behind it is that of the content`},
			{"end of the tag", patched(b, at+7, 1), `the kind of the checksum is "xxh64\x00\x00\x01", want "xxh64\x00\x00\x00"`},
			{"tag of zeros", patched(b, at, make([]byte, 8)...), `the kind of the checksum is "\x00\x00\x00\x00\x00\x00\x00\x00", want`},
			{"sum", patched(b, at+15, b[at+15]+1), "xxh64 is "},
			{"content", patched(b, from, b[from]+1), "xxh64 is "},
			{"tag and content", patched(wrongTag(b), from, b[from]+1), "md5 is "},
		} {
			if got := SumFault(tc.b); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
			}
		}
	}
}

// TestSameButTheChecksum: files are the same with checksums of any two kinds, if these fit.
func TestSameButTheChecksum(t *testing.T) {
	t.Parallel()
	for _, f := range []func([]byte, SumKind) ([]byte, error){sampleObject.Append, sampleTxn.Append} {
		for _, x := range sumKinds() {
			a := mustAppend(t, f, x)
			at, _ := sumAt(a)
			for _, y := range sumKinds() {
				b := mustAppend(t, f, y)
				if !Same(a, b) {
					t.Errorf("%q and %q differ", x, y)
				}
				if Same(a, b[:len(b)-1]) || Same(a, patched(b, len(b)-1, b[len(b)-1]+1)) || Same(a, patched(b, 8, b[8]+1)) {
					t.Errorf("%q is the same as other content with %q", x, y)
				}
				if b := patched(b, at+15, b[at+15]+1); Same(a, b) || Same(b, a) {
					t.Errorf("%q is the same as one with a wrong sum", x)
				}
			}
			if wrong := wrongTag(a); !Same(wrong, bytes.Clone(wrong)) {
				t.Error("a damaged file differs from its copy")
			}
		}
	}
	if !Same([]byte("another file"), []byte("another file")) || Same([]byte("another file"), []byte("another f1le")) {
		t.Error("other files are compared by their sums")
	}
}
