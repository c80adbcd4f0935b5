package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	. "github.com/dirstorage/dirstorage/internal/pickle/pickletest"
)

// BenchmarkPageOfALargeObject makes the page of an object whose record has about 10 MB: as one text,
// as many small values, and as references.
func BenchmarkPageOfALargeObject(b *testing.B) {
	var values, refs []string
	for i := range 350_000 {
		values = append(values, Text(fmt.Sprintf("key-%06d", i)), Text("the value"))
	}
	for i := range 270_000 {
		refs = append(refs, Ref(theNews, "plone.app", fmt.Sprint("Class", i)))
	}
	for name, state := range map[string]string{"text": Text(strings.Repeat("a line of a text\n", 600_000)), "values": Dict(values...), "references": List(refs...)} {
		b.Run(name, func(b *testing.B) {
			s, _ := contentSite(b)
			record := Object("m", "Large", state)
			enginetest.Commit(b, s.storage, enginetest.Change{OID: 0x300, Data: record})
			s.login()
			b.SetBytes(int64(len(record)))
			b.ReportAllocs()
			for b.Loop() {
				if code, body := s.get("/web/object?oid=300"); code != http.StatusOK {
					b.Fatal(code, body)
				}
			}
		})
	}
}
