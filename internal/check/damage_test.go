package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// sample is a home with one of everything. T1 makes the root 0 and 1 to 4; T2
// changes 1; T3 changes 1 and gives 2 a blob; T4 undoes T3 for 1; T5 makes 5, to which
// nobody refers; T6 makes 6 and T7 undoes that creation.
func sample(tb testing.TB, format layout.Format) (h *testHome, t [8]zodb.TID) {
	h = newTestHome(tb, format, "Full")
	t[1] = h.commit(stored{oid: 0, data: data(1, 2)}, stored{oid: 1, data: data(3)}, stored{oid: 2, data: data(4)},
		stored{oid: 3, data: data()}, stored{oid: 4, data: data(0)})
	t[2] = h.commit(stored{oid: 1, data: data(3, 4)})
	t[3] = h.commit(stored{oid: 1, data: data(3)}, stored{oid: 2, data: data(4), blob: []byte("the blob")})
	t[4] = h.commit(stored{oid: 1, data: data(3, 4), undoFrom: t[2]})
	t[5] = h.commit(stored{oid: 5, data: data(1)})
	t[6] = h.commit(stored{oid: 6, data: data()})
	t[7] = h.commit(stored{oid: 6})
	return h, t
}

// want is the part of a finding that a test is about.
type want struct {
	Kind Kind
	Name layout.Name // of the file
	Path string      // instead of Name
	OID  zodb.OID
	TID  zodb.TID
	From zodb.OID
}

func TestEachDamageGivesItsFindingAndNoOther(t *testing.T) {
	t.Parallel()
	for i, tc := range damages() {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// Each in two of the formats, all pairs in turn.
			for j := range 2 {
				format := layout.Formats()[(i+j*(1+i/4%3))%4]
				h, tids := sample(t, format)
				tc.damage(h, tids)
				all, _ := findings(t, Options{FS: h.fs, Root: true, Now: func() time.Time { return h.last.Time() }})
				got, wanted := worseThanNotes(all), []want(nil)
				for _, w := range tc.want(tids) {
					if w.Path == "" {
						w.Path = h.path(w.Name)
					}
					w.Name = layout.Name{}
					wanted = append(wanted, w)
				}
				order := func(a, b want) int { return strings.Compare(string(a.Kind)+a.Path, string(b.Kind)+b.Path) }
				slices.SortFunc(got, order)
				slices.SortFunc(wanted, order)
				if d := cmp.Diff(wanted, got); d != "" {
					t.Errorf("%s: findings (-want +got):\n%s\n%v", format, d, all)
				}
			}
		})
	}
}

// worseThanNotes returns the findings that are not notes.
func worseThanNotes(all []Finding) (got []want) {
	for _, f := range all {
		if f.Severity != Note {
			got = append(got, want{Kind: f.Kind, Path: f.Path, OID: f.OID, TID: f.TID, From: f.From})
		}
	}
	return got
}

// damageCase is one way to spoil the sample home.
type damageCase struct {
	name   string
	damage func(h *testHome, t [8]zodb.TID)
	want   func(t [8]zodb.TID) []want
}

func damages() []damageCase {
	none := func([8]zodb.TID) []want { return nil }
	file := func(n layout.Name, change func(b []byte) []byte) func(*testHome) {
		return func(h *testHome) { h.put(n, change(h.read(h.path(n)))) }
	}
	return slices.Concat(objectDamages(file), transactionDamages(file), sumDamages(file), homeDamages(), []damageCase{
		{"none", func(*testHome, [8]zodb.TID) {}, none},
		{"no checksum", func(h *testHome, t [8]zodb.TID) {
			file(layout.Revision(1, t[2]), func(b []byte) []byte { clear(b[40:56]); return b })(h)
			file(layout.Transaction(t[2]), func(b []byte) []byte { clear(b[32:48]); return b })(h)
		}, none},
		{"old pointer", func(h *testHome, _ [8]zodb.TID) {
			file(layout.Pointer(1), func(b []byte) []byte { return append([]byte("\x0B\xFE\xE8\xEC"), b...) })(h)
		}, none},
		{"packed away", func(h *testHome, t [8]zodb.TID) {
			h.put(layout.XPacked, be64(uint64(t[3])))
			h.remove(h.path(layout.Revision(1, t[1])), h.path(layout.Revision(1, t[2])), h.path(layout.Transaction(t[1])))
			h.remove(h.path(layout.Transaction(t[2])))
		}, none},
		{"leftovers", func(h *testHome, _ [8]zodb.TID) {
			h.write("misc/.replica.incoming", nil)
			h.write("backups/.tmp-backup-1.tgz", nil)
			h.write("journal/aside-tree", nil)
		}, none},
		{"deleted files", func(h *testHome, t [8]zodb.TID) {
			h.put(layout.XPacked, be64(uint64(t[3])))
			n := h.path(layout.Revision(1, t[1]))
			h.write(n+"-1709292147-deleted", h.read(n))
			h.remove(n)
		}, none},
	})
}

// neverWritten makes a history lead to a revision that x.packed explains, and its transaction does not.
func neverWritten(h *testHome, t [8]zodb.TID) {
	h.put(layout.XPacked, be64(uint64(t[5])))
	n := layout.Revision(5, t[5])
	h.put(n, patch(h.read(h.path(n)), 56, be64(uint64(t[4]))))
}

type fileChanger func(n layout.Name, change func(b []byte) []byte) func(*testHome)

func objectDamages(file fileChanger) []damageCase {
	one := func(w func(t [8]zodb.TID) want) func(t [8]zodb.TID) []want {
		return func(t [8]zodb.TID) []want { return []want{w(t)} }
	}
	return []damageCase{
		{"pointer of an object without referrer is missing", func(h *testHome, _ [8]zodb.TID) { h.remove(h.path(layout.Pointer(5))) },
			one(func([8]zodb.TID) want { return want{Kind: PointerMissing, Name: layout.Pointer(5), OID: 5} })},
		{"pointer of the root is missing", func(h *testHome, _ [8]zodb.TID) { h.remove(h.path(layout.Pointer(0))) },
			func([8]zodb.TID) []want {
				return []want{{Kind: DanglingReference, Name: layout.Pointer(0), From: 4}, {Kind: RootMissing, Name: layout.Pointer(0)}}
			}},
		{"pointer too short", func(h *testHome, _ [8]zodb.TID) { h.put(layout.Pointer(1), []byte("short")) },
			one(func([8]zodb.TID) want { return want{Kind: PointerLength, Name: layout.Pointer(1), OID: 1} })},
		{"empty pointer", func(h *testHome, _ [8]zodb.TID) { h.put(layout.Pointer(1), nil) },
			one(func([8]zodb.TID) want { return want{Kind: PointerLength, Name: layout.Pointer(1), OID: 1} })},
		{"pointer two revisions back", func(h *testHome, t [8]zodb.TID) { h.put(layout.Pointer(1), be64(uint64(t[2]))) },
			one(func([8]zodb.TID) want { return want{Kind: PointerNotNewest, Name: layout.Pointer(1), OID: 1} })},
		{"pointer to nothing", func(h *testHome, _ [8]zodb.TID) { h.put(layout.Pointer(1), be64(5)) },
			one(func([8]zodb.TID) want {
				return want{Kind: RevisionMissing, Name: layout.Revision(1, 5), OID: 1, TID: 5}
			})},
		{"two revisions missing", func(h *testHome, t [8]zodb.TID) {
			h.remove(h.path(layout.Revision(1, t[3])), h.path(layout.Revision(1, t[1])))
		}, func(t [8]zodb.TID) []want {
			return []want{
				{Kind: RevisionMissing, Name: layout.Revision(1, t[3]), OID: 1, TID: t[3]},
				{Kind: RevisionMissing, Name: layout.Revision(1, t[1]), OID: 1, TID: t[1]},
			}
		}},
		{"damage behind damage", func(h *testHome, t [8]zodb.TID) {
			for _, n := range []layout.Name{layout.Revision(1, t[3]), layout.Revision(1, t[1])} {
				file(n, func(b []byte) []byte { b[len(b)-2] ^= 1; return b })(h)
			}
		}, func(t [8]zodb.TID) []want {
			return []want{
				{Kind: ObjectChecksum, Name: layout.Revision(1, t[3]), OID: 1, TID: t[3]},
				{Kind: ObjectChecksum, Name: layout.Revision(1, t[1]), OID: 1, TID: t[1]},
			}
		}},
		{"serial", func(h *testHome, t [8]zodb.TID) {
			file(layout.Revision(1, t[3]), func(b []byte) []byte { return patch(b, 64, be64(uint64(t[3])+1)) })(h)
		}, one(func(t [8]zodb.TID) want {
			return want{Kind: ObjectSerial, Name: layout.Revision(1, t[3]), OID: 1, TID: t[3]}
		})},
		{"copy of nothing", func(h *testHome, t [8]zodb.TID) {
			file(layout.Revision(1, t[4]), func(b []byte) []byte { return patch(b, 16, be64(uint64(t[2])+1)) })(h)
		}, one(func(t [8]zodb.TID) want {
			return want{Kind: ObjectUndoFrom, Name: layout.Revision(1, t[4]), OID: 1, TID: t[4]}
		})},
		{"copied revision missing", func(h *testHome, t [8]zodb.TID) { h.remove(h.path(layout.Revision(1, t[2]))) },
			one(func(t [8]zodb.TID) want {
				return want{Kind: RevisionMissing, Name: layout.Revision(1, t[2]), OID: 1, TID: t[2]}
			})},
		{"history skips a revision", func(h *testHome, t [8]zodb.TID) {
			file(layout.Revision(1, t[4]), func(b []byte) []byte { return patch(b, 56, be64(uint64(t[2]))) })(h)
		}, one(func(t [8]zodb.TID) want {
			return want{Kind: RevisionNotInHistory, Name: layout.Revision(1, t[3]), OID: 1, TID: t[3]}
		})},
		{"history leads to what was never written, before x.packed", func(h *testHome, t [8]zodb.TID) {
			neverWritten(h, t)
		}, one(func(t [8]zodb.TID) want {
			return want{Kind: RevisionMissing, Name: layout.Revision(5, t[4]), OID: 5, TID: t[4]}
		})},
		{"copy of what was never written, before x.packed", func(h *testHome, t [8]zodb.TID) {
			h.put(layout.XPacked, be64(uint64(t[3])))
			file(layout.Revision(5, t[5]), func(b []byte) []byte { return patch(b, 16, be64(uint64(t[2]))) })(h)
		}, one(func(t [8]zodb.TID) want {
			return want{Kind: ObjectUndoFrom, Name: layout.Revision(5, t[5]), OID: 5, TID: t[5]}
		})},
		{"reference to an undone creation", func(h *testHome, t [8]zodb.TID) { h.commit(stored{oid: 3, data: data(6)}) },
			one(func([8]zodb.TID) want { return want{Kind: DanglingReference, Name: layout.Pointer(6), OID: 6, From: 3} })},
		{"reference far outside", func(h *testHome, t [8]zodb.TID) {
			h.commit(stored{oid: 3, data: data(1 << 60)}, stored{oid: 2, data: data(1<<60, 4)})
		},
			one(func([8]zodb.TID) want {
				return want{Kind: DanglingReference, Name: layout.Pointer(1 << 60), OID: 1 << 60, From: 2}
			})},
		{"blob missing", func(h *testHome, t [8]zodb.TID) { h.remove(h.path(layout.Blob(2, t[3]))) },
			one(func(t [8]zodb.TID) want {
				return want{Kind: BlobMissing, Name: layout.Blob(2, t[3]), OID: 2, TID: t[3]}
			})},
		{"blob changed", func(h *testHome, t [8]zodb.TID) { h.put(layout.Blob(2, t[3]), []byte("the b1ob")) },
			one(func(t [8]zodb.TID) want {
				return want{Kind: BlobChecksum, Name: layout.Blob(2, t[3]), OID: 2, TID: t[3]}
			})},
		{"blob that no revision wants", func(h *testHome, t [8]zodb.TID) { h.put(layout.Blob(1, t[3]), []byte("x")) },
			one(func(t [8]zodb.TID) want {
				return want{Kind: BlobWithoutRevision, Name: layout.Blob(1, t[3]), OID: 1, TID: t[3]}
			})},
	}
}

func transactionDamages(file fileChanger) []damageCase {
	damaged := func(kind Kind) func(t [8]zodb.TID) []want {
		return func(t [8]zodb.TID) []want { return []want{{Kind: kind, Name: layout.Transaction(t[3]), TID: t[3]}} }
	}
	change := func(f func(b []byte, t [8]zodb.TID) []byte) func(h *testHome, t [8]zodb.TID) {
		return func(h *testHome, t [8]zodb.TID) {
			file(layout.Transaction(t[3]), func(b []byte) []byte { return f(b, t) })(h)
		}
	}
	return []damageCase{
		{"transaction cut", change(func(b []byte, _ [8]zodb.TID) []byte { return b[:len(b)-3] }), damaged(TransactionLength)},
		{"transaction empty", change(func([]byte, [8]zodb.TID) []byte { return nil }), damaged(TransactionMagic)},
		{"transaction with another tid", change(func(b []byte, _ [8]zodb.TID) []byte { b[15] = 1; return b }), damaged(TransactionTID)},
		{"lengths inside do not fit", change(func(b []byte, _ [8]zodb.TID) []byte { return patch(b, 48, []byte{0, 99}) }), damaged(TransactionFields)},
		{"reserved bytes", change(func(b []byte, _ [8]zodb.TID) []byte { b[20] = 7; return b }), damaged(TransactionFields)},
		{"transaction names itself", change(func(b []byte, t [8]zodb.TID) []byte { copy(b[24:], be64(uint64(t[3]))); return b }), damaged(TransactionNotBackwards)},
		{"transaction names a later one", change(func(b []byte, t [8]zodb.TID) []byte { copy(b[24:], be64(uint64(t[5]))); return b }), damaged(TransactionNotBackwards)},
		{"chain skips a transaction", change(func(b []byte, t [8]zodb.TID) []byte { copy(b[24:], be64(uint64(t[1]))); return b }), func(t [8]zodb.TID) []want {
			return []want{{Kind: TransactionNotInChain, Name: layout.Transaction(t[2]), TID: t[2]}}
		}},
		{"chain ends early", change(func(b []byte, t [8]zodb.TID) []byte { copy(b[24:], be64(0)); return b }), func(t [8]zodb.TID) []want {
			return []want{{Kind: TransactionNotInChain, Name: layout.Transaction(t[2]), TID: t[2]}}
		}},
		{"oldest transaction missing", func(h *testHome, t [8]zodb.TID) { h.remove(h.path(layout.Transaction(t[1]))) }, func(t [8]zodb.TID) []want {
			return []want{{Kind: TransactionMissing, Name: layout.Transaction(t[1]), TID: t[1]}}
		}},
		{"newest transaction missing", func(h *testHome, t [8]zodb.TID) { h.remove(h.path(layout.Transaction(t[7]))) }, func(t [8]zodb.TID) []want {
			return []want{{Kind: TransactionMissing, Name: layout.Transaction(t[7]), TID: t[7]}}
		}},
		{"two neighbours missing", func(h *testHome, t [8]zodb.TID) {
			h.remove(h.path(layout.Transaction(t[4])), h.path(layout.Transaction(t[5])))
		}, func(t [8]zodb.TID) []want {
			return []want{
				{Kind: TransactionMissing, Name: layout.Transaction(t[5]), TID: t[5]},
				{Kind: RevisionWithoutTransaction, Name: layout.Revision(1, t[4]), OID: 1, TID: t[4]},
			}
		}},
		{"revision that its transaction does not list", func(h *testHome, t [8]zodb.TID) {
			h.put(layout.Revision(3, t[3]), h.object(record.Object{OID: 3, Serial: t[3], Previous: t[1], Data: data()}))
			h.put(layout.Pointer(3), be64(uint64(t[3])))
		}, func(t [8]zodb.TID) []want {
			return []want{{Kind: RevisionNotListed, Name: layout.Revision(3, t[3]), OID: 3, TID: t[3]}}
		}},
		{"transaction lists a revision that was never there", func(h *testHome, t [8]zodb.TID) {
			h.put(layout.Transaction(t[6]), h.transaction(record.Transaction{TID: t[6], Previous: t[5], OIDs: []zodb.OID{6, 3}}))
		}, func(t [8]zodb.TID) []want {
			return []want{{Kind: TransactionListsMissingRevision, Name: layout.Transaction(t[6]), OID: 3, TID: t[6]}}
		}},
		{"object without a trace", func(h *testHome, t [8]zodb.TID) {
			h.remove(h.path(layout.Pointer(5)), h.path(layout.Revision(5, t[5])))
		}, func(t [8]zodb.TID) []want {
			return []want{{Kind: TransactionListsMissingRevision, Name: layout.Transaction(t[5]), OID: 5, TID: t[5]}}
		}},
	}
}

func homeDamages() []damageCase {
	x := func(kind Kind, n layout.Name) func([8]zodb.TID) []want {
		return func([8]zodb.TID) []want { return []want{{Kind: kind, Name: n}} }
	}
	at := func(kind Kind, path string) func([8]zodb.TID) []want {
		return func([8]zodb.TID) []want { return []want{{Kind: kind, Path: path}} }
	}
	return []damageCase{
		{"x.oid missing", func(h *testHome, _ [8]zodb.TID) { h.remove(h.path(layout.XOID)) }, x(XMissing, layout.XOID)},
		{"x.serial missing", func(h *testHome, _ [8]zodb.TID) { h.remove(h.path(layout.XSerial)) }, x(XMissing, layout.XSerial)},
		{"x.packed missing", func(h *testHome, _ [8]zodb.TID) { h.remove(h.path(layout.XPacked)) }, func([8]zodb.TID) []want { return nil }},
		{"x.packed empty", func(h *testHome, _ [8]zodb.TID) { h.put(layout.XPacked, nil) }, x(XLength, layout.XPacked)},
		{"x.serial too long", func(h *testHome, _ [8]zodb.TID) { h.put(layout.XSerial, make([]byte, 9)) }, x(XLength, layout.XSerial)},
		{"stray file", func(h *testHome, _ [8]zodb.TID) { h.write("A/core", nil) }, at(StrayFile, "A/core")},
		{"name in lower case", func(h *testHome, _ [8]zodb.TID) { h.write("A/o000000000000000a.c", nil) }, at(StrayFile, "A/o000000000000000a.c")},
		{"symbolic link", func(h *testHome, _ [8]zodb.TID) {
			if err := os.Symlink("nowhere", filepath.Join(h.dir, "A/link")); err != nil {
				h.tb.Fatal(err)
			}
		}, at(StrayFile, "A/link")},
		{"directories without end", func(h *testHome, _ [8]zodb.TID) { h.mkdir("A" + strings.Repeat("/d", 200)) },
			at(StrayFile, "A"+strings.Repeat("/d", maxDepth+1))},
		{"identity missing", func(h *testHome, _ [8]zodb.TID) { h.remove("config/identity") }, at(ConfigMissing, "config/identity")},
		{"stray journal entry", func(h *testHome, _ [8]zodb.TID) { h.write("journal/core", nil) }, at(JournalStray, "journal/core")},
		{"x.packed in the future", func(h *testHome, t [8]zodb.TID) { h.put(layout.XPacked, be64(uint64(t[7]+1<<34))) }, func(t [8]zodb.TID) []want {
			return []want{{Kind: XFuture, Name: layout.XPacked, TID: t[7] + 1<<34}}
		}},
	}
}
