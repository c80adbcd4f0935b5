package check

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
)

// TestMissingRootIsDamage of a storage that holds something, and only if that is asked for.
func TestMissingRootIsDamage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		class string
		fill  func(h *testHome)
		want  bool
	}{
		{"empty", "Full", func(*testHome) {}, false},
		{"a transaction without objects", "Full", func(h *testHome) { h.commit() }, false},
		{"a root", "Full", func(h *testHome) { h.commit(stored{oid: 0, data: data(1)}, stored{oid: 1, data: data()}) }, false},
		{"no root", "Full", func(h *testHome) { h.commit(stored{oid: 1, data: data()}) }, true},
		{"its creation was undone", "Full", func(h *testHome) {
			h.commit(stored{oid: 0, data: data()}, stored{oid: 1, data: data()})
			h.commit(stored{oid: 0})
			h.commit(stored{oid: 1, data: data()})
		}, true},
		{"no root", "Minimal", func(h *testHome) {
			h.put(layout.Object(1), h.object(record.Object{OID: 1, Serial: firstTID, Data: data()}))
			h.last, h.maxOID = firstTID, 1
			h.marks()
		}, true},
	} {
		t.Run(tc.class+" "+tc.name, func(t *testing.T) {
			t.Parallel()
			for _, format := range layout.Formats() {
				h := newTestHome(t, format, tc.class)
				h.marks()
				tc.fill(h)
				for _, o := range []Options{{FS: h.fs, Root: true}, {FS: h.fs}, {FS: h.fs, Root: true, Since: firstTID - 1}} {
					if o.Since != 0 && (tc.class == "Minimal" || h.last == 0) {
						continue
					}
					want := tc.want && o.Root
					all, sum := findings(t, o)
					if (sum.Damage > 0) != want || want && (len(all) != 1 || all[0].Kind != RootMissing || all[0].OID != 0) {
						t.Errorf("%s %+v: %v, want damage %t", format, o, all, want)
					}
				}
			}
		})
	}
}
