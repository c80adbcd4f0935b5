package check

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// logged is a transaction for the log of a testHome.
type logged struct {
	tid, previous zodb.TID
	records       []stored
}

// journal writes a log and leaves it as a crash would, nothing given back. The
// blobs are staged beside it.
func (h *testHome) journal(transactions ...logged) {
	h.tb.Helper()
	o := journal.Options{FS: h.fs, Dir: "journal", SegmentSize: 4 << 10}
	id, err := hex.DecodeString(string(h.read("config/identity")))
	if err != nil {
		h.tb.Fatal(err)
	}
	copy(o.Identity[:], id)
	log, _, err := journal.Open(o)
	if err != nil {
		h.tb.Fatal(err)
	}
	serial := make(map[zodb.OID]zodb.TID)
	for _, t := range transactions {
		p := &journal.Pending{Meta: zodb.TxnMeta{User: []byte("user"), Description: []byte("what")}}
		for _, r := range t.records {
			e := journal.Entry{OID: r.oid, Previous: max(h.serial[r.oid], serial[r.oid]), Len: int64(len(r.data)), Gone: len(r.data) == 0, UndoFrom: r.undoFrom}
			if r.blob != nil {
				e.Blob, e.BlobFile, e.BlobSize, e.BlobSum = true, "journal/blob-"+t.tid.String(), int64(len(r.blob)), record.SumBlob(r.blob)
				h.write(e.BlobFile, r.blob)
			}
			p.Records = append(p.Records, e)
			serial[r.oid] = t.tid
			h.maxOID = max(h.maxOID, r.oid)
		}
		p.Data = func(i int) ([]byte, error) { return t.records[i].data, nil }
		if err := log.Append(p); err != nil {
			h.tb.Fatal(err)
		}
		c := journal.CommitRecord{Txn: p, TID: t.tid, Previous: t.previous, MaxOID: h.maxOID}
		if err := log.Commit([]journal.CommitRecord{c}); err != nil {
			h.tb.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		h.tb.Fatal(err)
	}
}

func TestTransactionsInTheLogCountAsIfTheyWereFlushed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(h *testHome, next zodb.TID)
		want   func(next zodb.TID) []want
	}{
		{"sound", func(*testHome, zodb.TID) {}, nil},
		{"flush was interrupted", func(h *testHome, next zodb.TID) {
			h.put(layout.Revision(7, next), []byte("torn"))
			h.put(layout.Transaction(next), nil)
			h.put(layout.Pointer(7), be64(uint64(next)))
			h.put(layout.XOID, be64(7))
			// The blob was moved already.
			b := h.read("journal/blob-" + next.String())
			h.remove("journal/blob-" + next.String())
			h.put(layout.Blob(7, next), b)
		}, nil},
		{"dangling reference in the log", func(h *testHome, _ zodb.TID) {
			h.remove(h.path(layout.Pointer(3)), h.path(layout.Revision(3, firstTID)))
		}, func(zodb.TID) []want {
			return []want{{Kind: DanglingReference, Name: layout.Pointer(3), OID: 3, From: 1}}
		}},
		{"blob lost", func(h *testHome, next zodb.TID) { h.remove("journal/blob-" + next.String()) },
			func(next zodb.TID) []want {
				return []want{{Kind: BlobMissing, Name: layout.Blob(7, next), OID: 7, TID: next}}
			}},
		{"damage that recovery replaces", func(h *testHome, _ zodb.TID) { h.put(layout.Pointer(5), nil) }, nil},
		{"damage below", func(h *testHome, _ zodb.TID) { h.put(layout.Pointer(4), nil) },
			func(zodb.TID) []want { return []want{{Kind: PointerLength, Name: layout.Pointer(4), OID: 4}} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h, tids := sample(t, layout.Bushy)
			next := tids[7] + 1<<32
			h.journal(logged{next, tids[7], []stored{{oid: 7, data: data(1), blob: []byte("blob")}, {oid: 2, data: data(7)}}},
				logged{next + 5, next, []stored{{oid: 1, data: data(3, 7), undoFrom: tids[4]}, {oid: 5}}})
			tc.damage(h, next)
			all, s := findings(t, Options{FS: h.fs})
			var got, wanted []want
			noted := false
			for _, f := range all {
				if f.Severity != Note {
					got = append(got, want{Kind: f.Kind, Path: f.Path, OID: f.OID, TID: f.TID, From: f.From})
				}
				noted = noted || f.Kind == NeedsRecovery
			}
			if tc.want != nil {
				for _, w := range tc.want(next) {
					w.Path, w.Name = h.path(w.Name), layout.Name{}
					wanted = append(wanted, w)
				}
			}
			if d := cmp.Diff(wanted, got); d != "" {
				t.Errorf("findings (-want +got):\n%s\n%v", d, all)
			}
			if !noted {
				t.Errorf("that recovery is needed was not noted: %v", all)
			}
			if s.LastTID != next+5 || s.Transactions != 9 || s.MaxOID != 7 {
				t.Errorf("last transaction %s of %d, highest oid %s", s.LastTID, s.Transactions, s.MaxOID)
			}
		})
	}
}

func TestLogThatDoesNotBelongToAIsDamage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		log  func(h *testHome, t [8]zodb.TID) logged
		want []Kind
	}{
		{"flushed already", func(h *testHome, t [8]zodb.TID) logged {
			return logged{t[5], t[4], []stored{{oid: 5, data: data(1)}}}
		}, nil},
		{"older and not in A", func(h *testHome, t [8]zodb.TID) logged {
			return logged{t[5] + 1, t[5], []stored{{oid: 5, data: data(1)}}}
		}, []Kind{JournalOlder}},
		{"older and different in A", func(h *testHome, t [8]zodb.TID) logged {
			return logged{t[5], t[4], []stored{{oid: 4, data: data(1)}}}
		}, []Kind{JournalOlder}},
		{"follows another transaction", func(h *testHome, t [8]zodb.TID) logged {
			return logged{t[7] + 9, t[7] + 8, []stored{{oid: 5, data: data(1)}}}
		}, []Kind{JournalOlder}},
		{"older and packed away", func(h *testHome, t [8]zodb.TID) logged {
			h.put(layout.XPacked, be64(uint64(t[6])))
			return logged{t[5] + 1, t[5], []stored{{oid: 5, data: data(1)}}}
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h, tids := sample(t, layout.Lawn)
			l := tc.log(h, tids)
			h.serial = map[zodb.OID]zodb.TID{} // the replaced revisions do not matter here
			h.journal(l)
			all, s := findings(t, Options{FS: h.fs})
			var got []Kind
			for _, f := range all {
				got = append(got, f.Kind)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("findings (-want +got):\n%s\n%v", d, all)
			}
			if s.LastTID != tids[7] {
				t.Errorf("last transaction %s, want %s", s.LastTID, tids[7])
			}
		})
	}
}

func TestDamagedLogIsReported(t *testing.T) {
	t.Parallel()
	h, tids := sample(t, layout.Flat)
	h.journal(logged{tids[7] + 1, tids[7], []stored{{oid: 5, data: data(1)}}})
	h.write("config/identity", []byte("ffffffffffffffffffffffffffffffff"))
	all, _ := findings(t, Options{FS: h.fs})
	if len(all) != 1 || all[0].Kind != JournalDamaged || all[0].Severity != Damage {
		t.Errorf("a log of another storage: found %v", all)
	}
}

func TestMinimalTransactionsInTheLogCount(t *testing.T) {
	t.Parallel()
	h := newTestHome(t, layout.Lawn, "Minimal")
	h.put(layout.Object(0), h.object(record.Object{OID: 0, Serial: 10, Data: data()}))
	h.last = 10
	h.marks()
	h.journal(logged{20, 10, []stored{{oid: 0, data: data(1)}, {oid: 1, data: data(0)}}})
	h.put(layout.Object(1), []byte("torn"))
	all, s := findings(t, Options{FS: h.fs})
	if len(all) != 1 || all[0].Kind != NeedsRecovery || s.Objects != 2 || s.LastTID != 20 {
		t.Errorf("found %v; %d objects, last %s", all, s.Objects, s.LastTID)
	}
}
