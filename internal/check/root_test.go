package check

import (
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestMissingRootIsDamage of a storage that had one, and a warning of one that holds something and never
// had a root; only if that is asked for.
func TestMissingRootIsDamage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		class string
		fill  func(h *testHome)
		want  Severity
	}{
		{"empty", "Full", func(*testHome) {}, ""},
		{"a transaction without objects", "Full", func(h *testHome) { h.commit() }, ""},
		{"a root", "Full", func(h *testHome) { h.commit(stored{oid: 0, data: data(1)}, stored{oid: 1, data: data()}) }, ""},
		{"never a root", "Full", func(h *testHome) { h.commit(stored{oid: 1, data: data()}) }, Warning},
		{"never a root, and a pack", "Full", func(h *testHome) {
			h.commit(stored{oid: 1, data: data()})
			h.put(layout.XPacked, record.AppendX(nil, uint64(h.last)))
		}, Damage},
		{"its creation was undone", "Full", func(h *testHome) {
			h.commit(stored{oid: 0, data: data()}, stored{oid: 1, data: data()})
			h.commit(stored{oid: 0})
			h.commit(stored{oid: 1, data: data()})
		}, Damage},
		{"no root", "Minimal", func(h *testHome) {
			h.put(layout.Object(1), h.object(record.Object{OID: 1, Serial: firstTID, Data: data()}))
			h.last, h.maxOID = firstTID, 1
			h.marks()
		}, Damage},
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
					want := tc.want
					if !o.Root {
						want = ""
					}
					all, sum := findings(t, o)
					if (sum.Damage > 0) != (want == Damage) || (sum.Warnings > 0) != (want == Warning) || want != "" && (len(all) != 1 || all[0].Kind != RootMissing || all[0].OID != 0 || all[0].Severity != want) {
						t.Errorf("%s %+v: %v, want %q", format, o, all, want)
					}
				}
			}
		})
	}
}

// TestLossOfTheRootIsDamage where a transaction says that there was one, or the one that may have said so is
// lost; also where a check looks at later transactions only.
func TestLossOfTheRootIsDamage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		lose func(h *testHome, first zodb.TID)
	}{
		{"its pointer", func(h *testHome, _ zodb.TID) { h.remove(h.path(layout.Pointer(0))) }},
		{"all of its transaction", func(h *testHome, first zodb.TID) {
			h.remove(h.path(layout.Pointer(0)), h.path(layout.Revision(0, first)), h.path(layout.Transaction(first)))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, format := range layout.Formats() {
				h := newTestHome(t, format, "Full")
				first := h.commit(stored{oid: 0, data: data()})
				second := h.commit(stored{oid: 1, data: data()})
				h.commit(stored{oid: 1, data: data()})
				tc.lose(h, first)
				for _, since := range []zodb.TID{0, second, first} {
					all, _ := findings(t, Options{FS: h.fs, Root: true, Since: since})
					i := slices.IndexFunc(all, func(f Finding) bool { return f.Kind == RootMissing })
					if i < 0 || all[i].Severity != Damage {
						t.Errorf("%s since %s: %v", format, since, all)
					}
				}
			}
		})
	}
}
