package check

import (
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// sumDamages change a checksum, its tag, or the bytes under it, of revisions and transactions with
// each kind of checksum.
func sumDamages(file fileChanger) (list []damageCase) {
	flip := func(at int) func(b []byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	parts := []struct {
		name                  string
		revision, transaction int // offsets
	}{{"the tag", 40, 32}, {"the end of the tag", 47, 39}, {"the sum", 55, 47}, {"the content", 70, 60}}
	for i, kind := range []string{"xxh64", "md5"} { // see sumKind
		revision, transaction := 2+i, 3+i
		for _, part := range parts {
			list = append(list, damageCase{part.name + " of the " + kind + " of a revision",
				func(h *testHome, t [8]zodb.TID) {
					isKind(h, layout.Revision(1, t[revision]), kind)
					file(layout.Revision(1, t[revision]), flip(part.revision))(h)
				},
				func(t [8]zodb.TID) []want {
					return []want{{Kind: ObjectChecksum, Name: layout.Revision(1, t[revision]), OID: 1, TID: t[revision]}}
				}}, damageCase{part.name + " of the " + kind + " of a transaction",
				func(h *testHome, t [8]zodb.TID) {
					isKind(h, layout.Transaction(t[transaction]), kind)
					file(layout.Transaction(t[transaction]), flip(part.transaction))(h)
				},
				func(t [8]zodb.TID) []want {
					return []want{{Kind: TransactionChecksum, Name: layout.Transaction(t[transaction]), TID: t[transaction]}}
				}})
		}
	}
	return list
}

func isKind(h *testHome, n layout.Name, kind string) {
	h.tb.Helper()
	if is := record.SumKindOf(h.read(h.path(n))).String(); is != kind {
		h.tb.Fatalf("%s has %q, want %q: the case is not what it says", n, is, kind)
	}
}

// TestAFaultOfAChecksumIsNamed: the detail says which kind of checksum it is, and tells a damaged tag
// from damaged content; in a file and in a bundle.
func TestAFaultOfAChecksumIsNamed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		revision int // of object 1
		at       int
		want     string
	}{
		"tag":   {2, 40, "the kind of the checksum is "},
		"xxh64": {2, 70, "xxh64 is "},
		"md5":   {3, 70, "md5 is "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flat, tids := sample(t, layout.Flat)
			n := layout.Revision(1, tids[tc.revision])
			b := flat.read(flat.path(n))
			b[tc.at] ^= 1
			flat.put(n, b)
			for _, h := range []*testHome{flat, flat.bundled(ranges{})} {
				all, _ := findings(t, Options{FS: h.fs, Root: true})
				if len(all) != 1 || all[0].Kind != ObjectChecksum || all[0].TID != n.TID || !strings.Contains(all[0].Detail, tc.want) {
					t.Errorf("%s: %+v, want %q", h.format, all, tc.want)
				}
			}
		})
	}
}

// TestFilesWithoutAChecksumAreCounted: those with one of either kind are not.
func TestFilesWithoutAChecksumAreCounted(t *testing.T) {
	t.Parallel()
	flat, tids := sample(t, layout.Flat)
	for _, n := range []layout.Name{layout.Revision(1, tids[2]), layout.Revision(1, tids[3]), layout.Transaction(tids[4])} {
		b := flat.read(flat.path(n))
		at := 40
		if n.Kind == layout.KindTransaction {
			at = 32
		}
		clear(b[at:][:16])
		flat.put(n, b)
	}
	for _, h := range []*testHome{flat, flat.bundled(ranges{})} {
		all, s := findings(t, Options{FS: h.fs, Root: true})
		if len(all) != 0 || s.WithoutChecksum != 3 {
			t.Errorf("%s: %d without a checksum, want 3; %+v", h.format, s.WithoutChecksum, all)
		}
	}
}
