package pickle

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// packedRecord is a record whose state repeats one text, as zc.zlibstorage packs it.
func packedRecord(t *testing.T, head, repeated string, times int, tail string) []byte {
	t.Helper()
	var b bytes.Buffer
	b.Write(wrapped)
	z := zlib.NewWriter(&b)
	for _, text := range []string{"N.", head, strings.Repeat(repeated, times), tail} {
		if _, err := z.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// allocated is the memory in bytes that f allocates in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestRepeatedReferencesTakeNoMemory: a record of some kilobytes refers millions of times to a few
// objects.
func TestRepeatedReferencesTakeNoMemory(t *testing.T) {
	const times, bound = 2 << 20, 24 << 20
	record := packedRecord(t, "]C\x0812345678q\x00Q0", "h\x00Q0", times, ".")
	if len(record) > 64<<10 {
		t.Fatalf("the record has %d bytes", len(record))
	}
	var oids []zodb.OID
	var err error
	unpacked := allocated(func() { _, _ = unwrap(record, maxUnwrapped) })
	took := allocated(func() { oids, err = AppendStrongRefs([]zodb.OID{9}, record) })
	if err != nil || len(oids) != 2 || oids[0] != 9 || cap(oids) > 4*compactFrom {
		t.Errorf("%d references with room for %d, %v", len(oids), cap(oids), err)
	}
	if took-unpacked > bound {
		t.Errorf("%d references took %d bytes beside the %d of the unpacked record", times, took-unpacked, unpacked)
	}
}

// TestDistinctReferencesAreAllThere also if they are many, in any order and repeated.
func TestDistinctReferencesAreAllThere(t *testing.T) {
	t.Parallel()
	const distinct = 3 * compactFrom
	var b strings.Builder
	b.WriteString("N.]")
	for i := range 2 * distinct {
		oid := zodb.OID(i*7919%distinct + 1).Bytes()
		b.WriteString("C\x08" + string(oid[:]) + "Q0")
	}
	b.WriteString(".")
	var s Scanner
	for range 2 {
		oids, err := s.AppendStrongRefs([]zodb.OID{99, 98}, []byte(b.String()))
		if err != nil || len(oids) != distinct+2 || oids[0] != 99 || oids[1] != 98 {
			t.Fatalf("%d references, %v", len(oids), err)
		}
		for i, oid := range oids[2:] {
			if oid != zodb.OID(i+1) {
				t.Fatalf("reference %d is %s", i, oid)
			}
		}
	}
}

// TestValuesOfARecordAreBounded in memory, whichever kind they have: a small packed record has as
// many of them as unpacked bytes.
func TestValuesOfARecordAreBounded(t *testing.T) {
	const times, memory = 1 << 20, 1 << 20
	for _, tc := range []struct{ name, head, repeated, tail string }{
		{"lists", "(", "]", "t."},
		{"values", "(", "N", "t."},
		{"marks", "", "(", "."},
		{"memo", "N", "\x94", "."},
		{"references", "]C\x0812345678q\x00", "h\x00Q", "."},
		{"tuples", "(", "C\x0112\x86", "t."},
	} {
		record := packedRecord(t, tc.head, tc.repeated, times, tc.tail)
		s := Scanner{memory: memory}
		oids, err := s.AppendStrongRefs([]zodb.OID{1}, record)
		if !errors.Is(err, ErrTooComplex) || len(oids) != 1 {
			t.Errorf("%s: %d oids, %v", tc.name, len(oids), err)
		}
		if _, err := AppendStrongRefs(nil, []byte("N.N.")); err != nil {
			t.Errorf("after %s: %v", tc.name, err)
		}
	}
}

// TestDecodingEndsWithItsContext soon, and with its error.
func TestDecodingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	record := packedRecord(t, "", "N0", 1<<20, "N.")
	ctx, stop := context.WithCancel(t.Context())
	asked := 0
	_, err := Parse(record, Limits{Stop: func() error {
		if asked++; asked == 3 {
			stop()
		}
		return ctx.Err()
	}})
	if !errors.Is(err, context.Canceled) || asked != 3 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	if tree, err := Parse(record, Limits{Stop: t.Context().Err}); err != nil || !tree.State().IsNone() {
		t.Errorf("without an end: %v", err)
	}
}

// TestHonestRecordsOfSmallValuesAreScanned: they take few times their size, also those of lists and
// tuples alone.
func TestHonestRecordsOfSmallValuesAreScanned(t *testing.T) {
	const times, most = 200, 7 // times the size of the record
	for name, one := range map[string]string{
		"lists of numbers":  "]\x94(K\x01K\x02e",
		"lists of strings":  "]\x94(\x8c\x02ab\x94\x8c\x02cd\x94e",
		"pairs of numbers":  "K\x01K\x02\x86\x94",
		"pairs of strings":  "\x8c\x02ab\x94\x8c\x02cd\x94\x86\x94",
		"strings":           "\x8c\x04abcd\x94",
		"lists in a tuple":  "]\x94K\x01a\x85\x94",
		"dictionaries":      "}\x94\x8c\x01a\x94K\x01s",
		"references beside": "]\x94(K\x01K\x02eC\x0812345678\x94Q",
	} {
		record := []byte("N.]" + strings.Repeat("("+strings.Repeat(one, 1000)+"e", times) + ".") // in parts, as picklers do
		s := Scanner{memory: int64(most * len(record))}
		oids, err := s.AppendStrongRefs(nil, record)
		if want := strings.Count(one, "Q"); err != nil || len(oids) != want {
			t.Errorf("%s: %d references, want %d, %v", name, len(oids), want, err)
		}
	}
}
