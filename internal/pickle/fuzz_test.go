package pickle

import (
	"errors"
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
		tree, parseErr := Parse(data, Limits{Memory: 8 << 20})
		switch {
		case errors.Is(parseErr, ErrTooComplex):
			return
		case (err == nil) != (parseErr == nil):
			t.Fatalf("Parse: %v; References: %v", parseErr, err)
		case err == nil:
			checkTree(t, tree, len(refs))
		}
		if module, name, err := Class(data); err == nil && len(module)+len(name) > 2*maxName {
			t.Fatalf("class of %d bytes", len(module)+len(name))
		}
	})
}

// checkTree renders a record in both ways, and looks at the texts and values.
func checkTree(t *testing.T, tree *Tree, refs int) {
	for _, o := range []RenderOptions{{Limit: 3000}, {Limit: 20_000, StringLimit: 1000, Lines: true, SortSets: true}} {
		text := tree.Render(o)
		if len(text.String) > o.Limit+len(dumpCut) || text.Cut && !strings.HasSuffix(text.String, dumpCut) {
			t.Fatalf("%d bytes of text, limit %d", len(text.String), o.Limit)
		}
		at := 0
		for _, l := range text.Links {
			if l.Start < at || l.End <= l.Start || l.End > len(text.String) || !strings.Contains(text.String[l.Start:l.End], l.Ref.OID.String()) {
				t.Fatalf("link %+v in a text of %d bytes, after %d", l, len(text.String), at)
			}
			at = l.End
		}
		if strings.ContainsAny(text.String, "\x00\x1b\x7f\u202e") {
			t.Fatalf("control characters in %q", text.String)
		}
	}
	n := 0
	for range tree.References() {
		n++
	}
	if n != refs {
		t.Fatalf("%d references of the tree, want %d", n, refs)
	}
	state := tree.State()
	for k, v := range state.Pairs() {
		k.Text()
		k.Integer()
		v.Inner()
		if len(v.Label(100)) > 100+len(dumpCut) {
			t.Fatal("a label is longer than its limit")
		}
	}
	if n, ok := state.Tuple(); ok && n > 0 {
		state.Element(n - 1).Ref()
	}
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
