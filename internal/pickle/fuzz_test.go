package pickle

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/zodb"
)

// FuzzRecord asserts that all ways to look at a record agree with each other
// and stay within their bounds.
func FuzzRecord(f *testing.F) {
	for _, e := range examples(f) {
		f.Add(e.record(f))
	}
	f.Add([]byte("N.]q\x002\x86\x86."))
	f.Fuzz(func(t *testing.T, record []byte) {
		data, err := unwrap(record, 1<<20)
		if err != nil {
			return
		}
		refs, err := References(data)
		var s Scanner
		for range 2 {
			oids, scanErr := s.AppendStrongRefs([]zodb.OID{1}, data)
			if (err == nil) != (scanErr == nil) {
				t.Fatalf("References says %v, AppendStrongRefs %v", err, scanErr)
			}
			if diff := cmp.Diff(append([]zodb.OID{1}, strong(refs)...), oids); diff != "" {
				t.Fatalf("strong references (-References +AppendStrongRefs):\n%s", diff)
			}
		}
		text, dumpErr := Dump(data, 5000)
		if (err == nil) != (dumpErr == nil) || len(text) > 5000+len(dumpCut) {
			t.Fatalf("Dump: %d bytes, %v; References: %v", len(text), dumpErr, err)
		}
		if strings.ContainsAny(text, "\x00\x1b\x7f") {
			t.Fatalf("Dump lets control characters through: %q", text)
		}
		if module, name, err := Class(data); err == nil && len(module)+len(name) > 2*maxName {
			t.Fatalf("class of %d bytes", len(module)+len(name))
		}
	})
}

func BenchmarkAppendStrongRefs(b *testing.B) {
	for _, e := range examples(b) {
		if e.Name != "protocol 3" && e.Name != "protocol 3, arguments" {
			continue
		}
		record := e.record(b)
		b.Run(e.Name, func(b *testing.B) {
			b.SetBytes(int64(len(record)))
			b.ReportAllocs()
			var s Scanner
			var oids []zodb.OID
			var err error
			for b.Loop() {
				if oids, err = s.AppendStrongRefs(oids[:0], record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
