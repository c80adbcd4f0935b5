package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestSinceFindsDamageToWhatChanged(t *testing.T) {
	t.Parallel()
	file := func(n layout.Name, change func(b []byte) []byte) func(*testHome) {
		return func(h *testHome) { h.put(n, change(h.read(h.path(n)))) }
	}
	for _, tc := range []damageCase{
		{"none", func(*testHome, [8]zodb.TID) {}, nil},
		{"older revision", func(h *testHome, t [8]zodb.TID) { h.remove(h.path(layout.Revision(3, t[1]))) }, nil},
		{"revision cut", func(h *testHome, t [8]zodb.TID) {
			file(layout.Revision(1, t[4]), func(b []byte) []byte { return b[:80] })(h)
		}, func(t [8]zodb.TID) []want {
			return []want{{Kind: ObjectLength, Name: layout.Revision(1, t[4]), OID: 1, TID: t[4]}}
		}},
		{"revision missing", func(h *testHome, t [8]zodb.TID) { h.remove(h.path(layout.Revision(1, t[3]))) }, func(t [8]zodb.TID) []want {
			return []want{{Kind: RevisionMissing, Name: layout.Revision(1, t[3]), OID: 1, TID: t[3]}}
		}},
		{"revision before it missing", func(h *testHome, t [8]zodb.TID) { h.remove(h.path(layout.Revision(1, t[2]))) }, func(t [8]zodb.TID) []want {
			return []want{{Kind: RevisionMissing, Name: layout.Revision(1, t[2]), OID: 1, TID: t[2]}}
		}},
		{"history leads to what was never written", func(h *testHome, t [8]zodb.TID) {
			file(layout.Revision(5, t[5]), func(b []byte) []byte { return patch(b, 56, be64(uint64(t[4]))) })(h)
		}, func(t [8]zodb.TID) []want {
			return []want{{Kind: RevisionMissing, Name: layout.Revision(5, t[4]), OID: 5, TID: t[4]}}
		}},
		{"history leads to what was never written, before x.packed", neverWritten, func(t [8]zodb.TID) []want {
			return []want{{Kind: RevisionMissing, Name: layout.Revision(5, t[4]), OID: 5, TID: t[4]}}
		}},
		{"pointer missing", func(h *testHome, _ [8]zodb.TID) { h.remove(h.path(layout.Pointer(5))) }, func([8]zodb.TID) []want {
			return []want{{Kind: PointerMissing, Name: layout.Pointer(5), OID: 5}}
		}},
		{"pointer missing of what is referred to", func(h *testHome, _ [8]zodb.TID) { h.remove(h.path(layout.Pointer(1))) }, func([8]zodb.TID) []want {
			return []want{{Kind: DanglingReference, Name: layout.Pointer(1), OID: 1, From: 5}}
		}},
		{"pointer damaged", func(h *testHome, _ [8]zodb.TID) { h.put(layout.Pointer(1), nil) }, func([8]zodb.TID) []want {
			return []want{{Kind: PointerLength, Name: layout.Pointer(1), OID: 1}}
		}},
		{"pointer too old", func(h *testHome, t [8]zodb.TID) { h.put(layout.Pointer(1), be64(uint64(t[2]))) }, func([8]zodb.TID) []want {
			return []want{{Kind: PointerNotNewest, Name: layout.Pointer(1), OID: 1}}
		}},
		{"pointer later than x.serial", func(h *testHome, t [8]zodb.TID) {
			h.put(layout.XSerial, be64(uint64(t[3])))
		}, func([8]zodb.TID) []want { return []want{{Kind: XSerialOld, Name: layout.XSerial}} }},
		{"x.oid too low", func(h *testHome, _ [8]zodb.TID) { h.put(layout.XOID, be64(4)) }, func([8]zodb.TID) []want {
			return []want{{Kind: XOIDLow, Name: layout.XOID}}
		}},
		{"blob missing", func(h *testHome, t [8]zodb.TID) { h.remove(h.path(layout.Blob(2, t[3]))) }, func(t [8]zodb.TID) []want {
			return []want{{Kind: BlobMissing, Name: layout.Blob(2, t[3]), OID: 2, TID: t[3]}}
		}},
		{"transaction missing", func(h *testHome, t [8]zodb.TID) { h.remove(h.path(layout.Transaction(t[5]))) }, func(t [8]zodb.TID) []want {
			return []want{{Kind: TransactionMissing, Name: layout.Transaction(t[5]), TID: t[5]}}
		}},
		{"transaction damaged, the rest goes on", func(h *testHome, t [8]zodb.TID) {
			file(layout.Transaction(t[5]), func(b []byte) []byte { b[60] ^= 1; return b })(h)
			h.remove(h.path(layout.Blob(2, t[3])))
		}, func(t [8]zodb.TID) []want {
			return []want{
				{Kind: BlobMissing, Name: layout.Blob(2, t[3]), OID: 2, TID: t[3]},
				{Kind: TransactionChecksum, Name: layout.Transaction(t[5]), TID: t[5]},
			}
		}},
		{"transaction missing, the rest goes on", func(h *testHome, t [8]zodb.TID) {
			h.remove(h.path(layout.Transaction(t[5])), h.path(layout.Blob(2, t[3])))
		}, func(t [8]zodb.TID) []want {
			return []want{
				{Kind: BlobMissing, Name: layout.Blob(2, t[3]), OID: 2, TID: t[3]},
				{Kind: TransactionMissing, Name: layout.Transaction(t[5]), TID: t[5]},
			}
		}},
		{"header of a transaction damaged, the rest goes on", func(h *testHome, t [8]zodb.TID) {
			file(layout.Transaction(t[5]), func(b []byte) []byte { return b[:20] })(h)
			h.remove(h.path(layout.Blob(2, t[3])))
		}, func(t [8]zodb.TID) []want {
			return []want{
				{Kind: BlobMissing, Name: layout.Blob(2, t[3]), OID: 2, TID: t[3]},
				{Kind: TransactionLength, Name: layout.Transaction(t[5]), TID: t[5]},
			}
		}},
		{"transaction leads too far, the rest goes on", func(h *testHome, t [8]zodb.TID) {
			file(layout.Transaction(t[5]), func(b []byte) []byte { copy(b[24:], be64(uint64(t[0]))); return b })(h)
			h.remove(h.path(layout.Blob(2, t[3])))
		}, func(t [8]zodb.TID) []want {
			return []want{
				{Kind: BlobMissing, Name: layout.Blob(2, t[3]), OID: 2, TID: t[3]},
				{Kind: TransactionNotInChain, Name: layout.Transaction(t[4]), TID: t[4]},
			}
		}},
		{"packed away", func(h *testHome, t [8]zodb.TID) {
			h.put(layout.XPacked, be64(uint64(t[7])))
			h.remove(h.path(layout.Transaction(t[4])), h.path(layout.Revision(1, t[3])))
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h, tids := sample(t, layout.Chunky)
			tc.damage(h, tids)
			all, _ := findings(t, Options{FS: h.fs, Since: tids[2]})
			var got, wanted []want
			for _, f := range all {
				got = append(got, want{Kind: f.Kind, Path: f.Path, OID: f.OID, TID: f.TID, From: f.From})
			}
			if tc.want != nil {
				wanted = tc.want(tids)
			}
			for i := range wanted {
				wanted[i].Path, wanted[i].Name = h.path(wanted[i].Name), layout.Name{}
			}
			slices.SortFunc(got, func(a, b want) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
			if d := cmp.Diff(wanted, got); d != "" {
				t.Errorf("findings (-want +got):\n%s\n%v", d, all)
			}
		})
	}
}

func TestSinceCostsWhatChanged(t *testing.T) {
	t.Parallel()
	h := newTestHome(t, layout.Bushy, "Full")
	h.fill(400, 100)
	before := h.last
	h.commit(stored{oid: 7, data: data(1, 2)}, stored{oid: 3000, data: data(7)})
	all, s := findings(t, Options{FS: h.fs, Since: before})
	if len(all) > 0 {
		t.Errorf("found %v", all)
	}
	got := [...]int64{s.Transactions, s.Revisions, s.Objects, s.Files}
	if want := [...]int64{1, 2, 2, 5}; got != want {
		t.Errorf("looked at %v transactions, revisions, objects and files, want %v", got, want)
	}
}

func TestSinceRefusesWhatItCannotAnswer(t *testing.T) {
	t.Parallel()
	h, tids := sample(t, layout.Lawn)
	minimal := newTestHome(t, layout.Flat, "Minimal")
	for _, tc := range []struct {
		name string
		o    Options
		want string
	}{
		{"later than the last", Options{FS: h.fs, Since: tids[7] + 1}, "later than the last transaction"},
		{"class Minimal", Options{FS: minimal.fs, Since: 1}, "class Minimal"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if _, err := Run(t.Context(), tc.o, func(Finding) {}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
	if all, s := findings(t, Options{FS: h.fs, Since: tids[7]}); len(all) > 0 || s.Files != 0 {
		t.Errorf("nothing changed since the last transaction, but %d files were read: %v", s.Files, all)
	}
}

func TestMinimalHomeIsChecked(t *testing.T) {
	t.Parallel()
	h := newTestHome(t, layout.Chunky, "Minimal")
	put := func(oid zodb.OID, serial zodb.TID, b []byte) {
		h.put(layout.Object(oid), h.object(record.Object{OID: oid, Serial: serial, Data: b}))
		h.last, h.maxOID = max(h.last, serial), max(h.maxOID, oid)
	}
	put(0, 10, data(1))
	put(1, 11, nil) // no undone creation in this class
	h.marks()
	if all, s := findings(t, Options{FS: h.fs}); len(all) > 0 || s.Objects != 2 {
		t.Fatalf("found %v in a sound home; %d objects", all, s.Objects)
	}
	put(0, 12, data(2))                                       // dangling, and later than x.serial
	put(5, 11, data())                                        // above x.oid
	h.put(layout.Pointer(0), be64(12))                        // has no place here
	h.put(layout.Object(1), h.read(h.path(layout.Object(0)))) // under a wrong name
	all, _ := findings(t, Options{FS: h.fs})
	var kinds []Kind
	for _, f := range all {
		kinds = append(kinds, f.Kind)
	}
	slices.Sort(kinds)
	if d := cmp.Diff([]Kind{DanglingReference, ObjectOID, StrayFile, XOIDLow, XSerialOld}, kinds); d != "" {
		t.Errorf("findings (-want +got):\n%s\n%v", d, all)
	}
}
