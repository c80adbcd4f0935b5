package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// littered is a home with garbage that a pack would remove; it says that it was
// packed to T4. The root 0 refers to 1 and 5, which has a blob; garbage is the chain 10, 11,
// 12 with a blob at its end, and 13, to which nothing refers. T1 makes them all;
// T2 changes 1, 5, 11 and 12, T3 changes 1, T4 changes 1 and 5.
func littered(tb testing.TB, format layout.Format) (h *testHome, t [8]zodb.TID) {
	h = newTestHome(tb, format, "Full")
	blob := func(s string) []byte { return []byte("blob " + s) }
	t[1] = h.commit(stored{oid: 0, data: data(1, 5)}, stored{oid: 1, data: data()}, stored{oid: 5, data: data(), blob: blob("5.1")},
		stored{oid: 10, data: data(11)}, stored{oid: 11, data: data(12)}, stored{oid: 12, data: data(), blob: blob("12.1")},
		stored{oid: 13, data: data(1)})
	t[2] = h.commit(stored{oid: 1, data: data()}, stored{oid: 5, data: data(), blob: blob("5.2")},
		stored{oid: 11, data: data(12)}, stored{oid: 12, data: data(), blob: blob("12.2")})
	t[3] = h.commit(stored{oid: 1, data: data()})
	t[4] = h.commit(stored{oid: 1, data: data()}, stored{oid: 5, data: data(), blob: blob("5.4")})
	h.packed(t[4])
	return h, t
}

func (h *testHome) packed(tid zodb.TID) { h.put(layout.XPacked, be64(uint64(tid))) }

// unlink removes database files.
func (h *testHome) unlink(names ...layout.Name) {
	h.tb.Helper()
	for _, n := range names {
		h.remove(h.path(n))
	}
}

// putAside renames database files as a pack does.
func (h *testHome) putAside(names ...layout.Name) {
	h.tb.Helper()
	for _, n := range names {
		h.write(h.path(n)+"-1709292147-deleted", h.read(h.path(n)))
	}
	h.unlink(names...)
}

// removed removes an object of littered altogether.
func (h *testHome) removed(oid zodb.OID, t [8]zodb.TID) {
	h.unlink(layout.Pointer(oid))
	for _, tid := range t[1:] {
		h.unlink(layout.Revision(oid, tid), layout.Blob(oid, tid))
	}
}

func (h *testHome) edit(n layout.Name, change func(b []byte) []byte) {
	h.tb.Helper()
	h.put(n, change(h.read(h.path(n))))
}

// graded is the part of a finding that these tests are about.
type graded struct {
	Severity Severity
	Kind     Kind
	Path     string
	OID      zodb.OID
	TID      zodb.TID
	From     zodb.OID
}

func (h *testHome) dangling(s Severity, oid, from zodb.OID) graded {
	return graded{Severity: s, Kind: DanglingReference, Path: h.path(layout.Pointer(oid)), OID: oid, From: from}
}

func (h *testHome) noPointer(s Severity, oid zodb.OID) graded {
	return graded{Severity: s, Kind: PointerMissing, Path: h.path(layout.Pointer(oid)), OID: oid}
}

func (h *testHome) at(s Severity, kind Kind, n layout.Name) graded {
	return graded{Severity: s, Kind: kind, Path: h.path(n), OID: n.OID, TID: n.TID}
}

func grade(all []Finding) []graded {
	var got []graded
	for _, f := range all {
		got = append(got, graded{f.Severity, f.Kind, f.Path, f.OID, f.TID, f.From})
	}
	sortGraded(got)
	return got
}

func sortGraded(g []graded) {
	slices.SortFunc(g, func(a, b graded) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Path, b.Path)) })
}

// leftoverCase is a change of a home, and the findings of a check after it.
type leftoverCase struct {
	name string
	do   func(h *testHome, t [8]zodb.TID) []graded
}

func TestLeftoversOfAPackAreToldFromDamage(t *testing.T) {
	t.Parallel()
	for i, tc := range slices.Concat(garbageCases(), unsureCases(), objectLeftovers(), otherLeftovers(), keptByClass()) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for j := range 2 {
				format := layout.Formats()[(i+j*(1+i/4%3))%4]
				h, tids := littered(t, format)
				wanted := tc.do(h, tids)
				sortGraded(wanted)
				all, _ := findings(t, Options{FS: h.fs, Workers: 1 + 3*j})
				if d := gocmp.Diff(wanted, grade(all)); d != "" {
					t.Errorf("%s: findings (-want +got):\n%s\n%v", format, d, all)
				}
				for _, f := range all {
					says := strings.Contains(f.Detail, leftByPack) || strings.Contains(f.Detail, "an interrupted pack leaves such objects, and the next one removes them")
					if says != (f.Severity != Damage) {
						t.Errorf("severity %s, but the detail is %q", f.Severity, f.Detail)
					}
				}
			}
		})
	}
}

// garbageCases are about references to 12, which is gone.
func garbageCases() []leftoverCase {
	gone := func(change func(h *testHome, t [8]zodb.TID), severity Severity, from zodb.OID) func(h *testHome, t [8]zodb.TID) []graded {
		return func(h *testHome, t [8]zodb.TID) []graded {
			h.removed(12, t)
			change(h, t)
			return []graded{h.dangling(severity, 12, from)}
		}
	}
	return []leftoverCase{
		{"nothing is wrong", func(*testHome, [8]zodb.TID) []graded { return nil }},
		{"garbage refers to what was removed", gone(func(*testHome, [8]zodb.TID) {}, Note, 11)},
		{"garbage refers far outside", func(h *testHome, t [8]zodb.TID) []graded {
			h.commit(stored{oid: 7, data: data(1 << 60)}, stored{oid: 6, data: data(1 << 60)})
			h.commit(stored{oid: 1, data: data()})
			h.packed(h.last)
			return []graded{h.dangling(Note, 1<<60, 6)}
		}},
		{"never packed", gone(func(h *testHome, _ [8]zodb.TID) { h.packed(0) }, Damage, 11)},
		{"the one that refers was written at the time of the pack", gone(func(h *testHome, t [8]zodb.TID) {
			h.packed(t[2])
		}, Damage, 11)},
		{"what refers was written just before the pack", gone(func(h *testHome, t [8]zodb.TID) { h.packed(t[2] + 1) }, Note, 11)},
		{"something reachable refers too, and is named first", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 0, data: data(1, 5, 20)}, stored{oid: 20, data: data(12)})
			h.commit(stored{oid: 1, data: data()})
			h.packed(h.last)
		}, Damage, 20)},
		{"something written since refers too, and is named before garbage", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 20, data: data(12)})
		}, Damage, 20)},
		{"what is reachable is named before what was written since", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 20, data: data(12)}, stored{oid: 0, data: data(1, 5, 21)}, stored{oid: 21, data: data(12)})
		}, Damage, 21)},
		{"reachable though never packed is named first", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 0, data: data(1, 5, 20)}, stored{oid: 20, data: data(12)})
			h.packed(0)
		}, Damage, 20)},
		{"reachable from what was written since", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 20, data: data(10)})
		}, Damage, 11)},
		{"reachable from a revision after the pack that was replaced", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 0, data: data(1, 5, 10)})
			h.commit(stored{oid: 0, data: data(1, 5)})
		}, Damage, 11)},
		{"reachable from the revision that was current at the pack", gone(func(h *testHome, _ [8]zodb.TID) {
			h.packed(h.commit(stored{oid: 0, data: data(1, 5, 10)}) + 1)
			h.commit(stored{oid: 0, data: data(1, 5)})
		}, Damage, 11)},
		{"what is reachable now is named before what a replaced revision reaches", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 0, data: data(1, 5, 10)})
			h.commit(stored{oid: 0, data: data(1, 5, 20)}, stored{oid: 20, data: data(12)})
		}, Damage, 20)},
		{"a revision after the pack refers that was replaced", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 0, data: data(1, 5, 12)})
			h.commit(stored{oid: 0, data: data(1, 5)})
		}, Damage, 0)},
		{"a revision that the pack removes refers", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 0, data: data(1, 5, 12)})
			h.packed(h.commit(stored{oid: 0, data: data(1, 5)}))
		}, Note, 11)},
		{"reachable only from a revision that the pack removes", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 0, data: data(1, 5, 10)})
			h.packed(h.commit(stored{oid: 0, data: data(1, 5)}))
		}, Note, 11)},
		{"the revision that was current at the pack is packed away", gone(func(h *testHome, t [8]zodb.TID) {
			h.unlink(layout.Revision(1, t[1]), layout.Revision(1, t[2]), layout.Revision(1, t[3]))
			h.packed(t[3] + 1)
		}, Note, 11)},
		{"a revision after the pack that undid the creation", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 1})
			h.commit(stored{oid: 1, data: data()})
		}, Note, 11)},
		{"a creation after the pack that was undone", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 0, data: data(1, 5, 20)}, stored{oid: 20, data: data()})
			h.commit(stored{oid: 0, data: data(1, 5)}, stored{oid: 20})
		}, Note, 11)},
		{"a revision after the pack refers to another object that is gone", gone(func(h *testHome, _ [8]zodb.TID) {
			h.maxOID = 20
			h.commit(stored{oid: 0, data: data(1, 5, 20)})
			h.commit(stored{oid: 0, data: data(1, 5)})
		}, Note, 11)},
		{"in cycles", gone(func(h *testHome, _ [8]zodb.TID) {
			h.commit(stored{oid: 1, data: data(0, 1)}, stored{oid: 20, data: data(21, 12)}, stored{oid: 21, data: data(20)})
			h.packed(h.commit(stored{oid: 1, data: data(0, 1)}))
		}, Note, 11)},
		{"an undone creation to which garbage refers", func(h *testHome, _ [8]zodb.TID) []graded {
			h.commit(stored{oid: 12})
			h.packed(h.commit(stored{oid: 1, data: data()}))
			return []graded{h.dangling(Note, 12, 11)}
		}},
	}
}

// unsureCases are about homes in which the reachable objects are unknown, or where
// something else is wrong.
func unsureCases() []leftoverCase {
	unsure := func(change func(h *testHome, t [8]zodb.TID) []graded) func(h *testHome, t [8]zodb.TID) []graded {
		return func(h *testHome, t [8]zodb.TID) []graded {
			h.removed(12, t)
			return append(change(h, t), h.dangling(Damage, 12, 11))
		}
	}
	return []leftoverCase{
		{"no root", unsure(func(h *testHome, t [8]zodb.TID) []graded {
			h.removed(0, t)
			return nil
		})},
		{"the creation of the root is undone", unsure(func(h *testHome, _ [8]zodb.TID) []graded {
			h.commit(stored{oid: 0})
			return nil
		})},
		{"an object written since has lost its pointer", unsure(func(h *testHome, _ [8]zodb.TID) []graded {
			h.commit(stored{oid: 20, data: data(10)})
			h.unlink(layout.Pointer(20))
			return []graded{h.noPointer(Damage, 20)}
		})},
		{"an object that an older revision refers to has lost its pointer", unsure(func(h *testHome, _ [8]zodb.TID) []graded {
			h.commit(stored{oid: 20, data: data(10)})
			h.packed(h.commit(stored{oid: 0, data: data(1, 5, 20)}))
			h.commit(stored{oid: 0, data: data(1, 5)})
			h.unlink(layout.Pointer(20))
			return []graded{h.noPointer(Damage, 20)}
		})},
		{"an object that has been deleted is referred to", func(h *testHome, t [8]zodb.TID) []graded {
			h.removed(12, t)
			h.commit(stored{oid: 20, data: data()}, stored{oid: 0, data: data(1, 5, 20)})
			h.packed(h.commit(stored{oid: 20}) + 1)
			return []graded{h.dangling(Note, 12, 11), h.dangling(Damage, 20, 0)}
		}},
		{"a reachable record that can't be read", unsure(func(h *testHome, t [8]zodb.TID) []graded {
			h.edit(layout.Revision(1, t[4]), func(b []byte) []byte { b[len(b)-2] ^= 1; return b })
			return []graded{h.at(Damage, ObjectChecksum, layout.Revision(1, t[4]))}
		})},
		{"a kept record that can't be read", unsure(func(h *testHome, t [8]zodb.TID) []graded {
			h.edit(layout.Revision(1, t[2]), func(b []byte) []byte { b[len(b)-2] ^= 1; return b })
			h.packed(t[2] + 1)
			return []graded{h.at(Damage, ObjectChecksum, layout.Revision(1, t[2]))}
		})},
		{"a reachable record that is no pickle", unsure(func(h *testHome, t [8]zodb.TID) []graded {
			tid := h.commit(stored{oid: 1, data: []byte("sealed")})
			return []graded{h.at(Damage, ObjectNotPickle, layout.Revision(1, tid))}
		})},
		{"a reachable pointer that is damaged", unsure(func(h *testHome, _ [8]zodb.TID) []graded {
			h.put(layout.Pointer(1), nil)
			return []graded{h.at(Damage, PointerLength, layout.Pointer(1))}
		})},
		{"a reachable object that has lost its pointer", unsure(func(h *testHome, _ [8]zodb.TID) []graded {
			h.commit(stored{oid: 2, data: data(10)}, stored{oid: 0, data: data(1, 2, 5)})
			h.packed(h.commit(stored{oid: 0, data: data(1, 2, 5)}))
			h.unlink(layout.Pointer(2))
			return []graded{h.dangling(Damage, 2, 0)}
		})},
		{"x.packed can't be read", unsure(func(h *testHome, _ [8]zodb.TID) []graded {
			h.put(layout.XPacked, nil)
			return []graded{h.at(Damage, XLength, layout.XPacked)}
		})},
		{"a reachable object of which there is no trace", func(h *testHome, t [8]zodb.TID) []graded {
			h.removed(12, t)
			h.commit(stored{oid: 0, data: data(1, 2, 5)})
			h.packed(h.commit(stored{oid: 1, data: data()}))
			return []graded{h.dangling(Note, 12, 11), h.dangling(Damage, 2, 0)}
		}},
		{"a missing object that was written since", func(h *testHome, t [8]zodb.TID) []graded {
			h.commit(stored{oid: 12, data: data()})
			h.unlink(layout.Pointer(12))
			return []graded{h.dangling(Note, 12, 11), h.noPointer(Damage, 12)}
		}},
		{"a missing object that a transaction lists that is later than the pack", func(h *testHome, t [8]zodb.TID) []graded {
			h.removed(12, t)
			h.unlink(layout.Pointer(12), layout.Revision(12, h.commit(stored{oid: 12, data: data()})))
			return []graded{h.dangling(Note, 12, 11), {Damage, TransactionListsMissingRevision, h.path(layout.Transaction(h.last)), 12, h.last, 0}}
		}},
	}
}

// objectLeftovers are objects and revisions that were removed by half.
func objectLeftovers() []leftoverCase {
	return []leftoverCase{
		{"pointer gone", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Pointer(13))
			return []graded{h.noPointer(Note, 13)}
		}},
		{"pointers of a whole chain gone", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Pointer(10), layout.Pointer(11), layout.Pointer(12))
			return []graded{h.noPointer(Note, 10), h.noPointer(Note, 11), h.noPointer(Note, 12)}
		}},
		{"pointer gone of what garbage refers to", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Pointer(12))
			return []graded{h.dangling(Note, 12, 11)}
		}},
		{"pointer and some revisions gone", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Pointer(10), layout.Pointer(11), layout.Revision(11, t[1]), layout.Revision(10, t[1]))
			return []graded{h.noPointer(Note, 11)}
		}},
		{"pointer gone of what was never packed", func(h *testHome, _ [8]zodb.TID) []graded {
			h.packed(0)
			h.unlink(layout.Pointer(13))
			return []graded{h.noPointer(Damage, 13)}
		}},
		{"pointer gone of what was written since", func(h *testHome, _ [8]zodb.TID) []graded {
			h.commit(stored{oid: 13, data: data(1)})
			h.unlink(layout.Pointer(13))
			return []graded{h.noPointer(Damage, 13)}
		}},
		{"pointer gone of what is reachable", func(h *testHome, _ [8]zodb.TID) []graded {
			h.unlink(layout.Pointer(5))
			return []graded{h.dangling(Damage, 5, 0)}
		}},
		{"pointers gone of a reachable object and of what it alone leads to", func(h *testHome, _ [8]zodb.TID) []graded {
			h.commit(stored{oid: 2, data: data(3)}, stored{oid: 3, data: data()}, stored{oid: 0, data: data(1, 2, 5)})
			h.packed(h.commit(stored{oid: 1, data: data()}))
			h.unlink(layout.Pointer(2), layout.Pointer(3))
			return []graded{h.dangling(Damage, 2, 0), h.noPointer(Damage, 3)}
		}},
		{"pointers gone of what undo can bring back, and of what it alone leads to", func(h *testHome, t [8]zodb.TID) []graded {
			h.packed(h.commit(stored{oid: 1, data: data(10)}))
			h.commit(stored{oid: 1, data: data()})
			h.unlink(layout.Pointer(10), layout.Pointer(11), layout.Pointer(12))
			return []graded{h.noPointer(Damage, 10), h.noPointer(Damage, 11), h.noPointer(Damage, 12)}
		}},
		{"pointer gone of what only a revision refers to that the pack removes", func(h *testHome, t [8]zodb.TID) []graded {
			h.commit(stored{oid: 1, data: data(10)})
			h.packed(h.commit(stored{oid: 1, data: data()}))
			h.unlink(layout.Pointer(10))
			return []graded{h.noPointer(Note, 10)}
		}},
		{"pointer gone, and a record that may refer to it can't be read", func(h *testHome, t [8]zodb.TID) []graded {
			h.unlink(layout.Pointer(13))
			h.edit(layout.Revision(1, t[4]), func(b []byte) []byte { b[len(b)-2] ^= 1; return b })
			return []graded{h.noPointer(Damage, 13), h.at(Damage, ObjectChecksum, layout.Revision(1, t[4]))}
		}},
		{"pointer gone, and a record that may refer to it is no pickle", func(h *testHome, t [8]zodb.TID) []graded {
			h.unlink(layout.Pointer(13))
			tid := h.commit(stored{oid: 1, data: []byte("sealed")})
			return []graded{h.noPointer(Damage, 13), h.at(Damage, ObjectNotPickle, layout.Revision(1, tid))}
		}},
		{"pointer gone, and one that may lead to it is damaged", func(h *testHome, t [8]zodb.TID) []graded {
			h.unlink(layout.Pointer(13))
			h.put(layout.Pointer(1), nil)
			return []graded{h.noPointer(Damage, 13), h.at(Damage, PointerLength, layout.Pointer(1))}
		}},
		{"pointer and blobs gone", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Pointer(10), layout.Pointer(11), layout.Revision(10, t[1]), layout.Revision(11, t[1]), layout.Revision(11, t[2]))
			h.putAside(layout.Pointer(12), layout.Blob(12, t[1]))
			return []graded{h.noPointer(Note, 12), h.at(Warning, BlobMissing, layout.Blob(12, t[1]))}
		}},
		{"pointer and blob gone of what is reachable", func(h *testHome, t [8]zodb.TID) []graded {
			h.unlink(layout.Pointer(5), layout.Blob(5, t[1]))
			return []graded{h.dangling(Damage, 5, 0), h.at(Damage, BlobMissing, layout.Blob(5, t[1]))}
		}},
		{"pointer and revision gone, and the blob not", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Pointer(12), layout.Revision(12, t[1]))
			h.putAside(layout.Revision(12, t[2]), layout.Blob(12, t[2]))
			return []graded{h.dangling(Note, 12, 11), h.at(Note, BlobWithoutRevision, layout.Blob(12, t[1]))}
		}},
		{"current revision gone, and the pointer not", func(h *testHome, t [8]zodb.TID) []graded {
			h.unlink(layout.Revision(13, t[1]))
			return []graded{h.at(Damage, RevisionMissing, layout.Revision(13, t[1]))}
		}},
		{"a revision gone, and an older one not", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Revision(1, t[2]))
			return []graded{h.at(Note, RevisionNotInHistory, layout.Revision(1, t[1]))}
		}},
		{"a revision gone that was never packed", func(h *testHome, t [8]zodb.TID) []graded {
			h.packed(t[2])
			h.unlink(layout.Revision(1, t[2]))
			return []graded{h.at(Damage, RevisionMissing, layout.Revision(1, t[2]))}
		}},
		{"a revision gone, and of an older one the blob", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Revision(5, t[2]), layout.Blob(5, t[2]), layout.Blob(5, t[1]))
			return []graded{h.at(Note, RevisionNotInHistory, layout.Revision(5, t[1])), h.at(Warning, BlobMissing, layout.Blob(5, t[1]))}
		}},
		{"a blob gone, and its revision not", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Blob(5, t[2]))
			return []graded{h.at(Warning, BlobMissing, layout.Blob(5, t[2]))}
		}},
		{"a blob gone of what was current at the pack", func(h *testHome, t [8]zodb.TID) []graded {
			h.packed(t[4] - 1)
			h.unlink(layout.Blob(5, t[2]))
			return []graded{h.at(Damage, BlobMissing, layout.Blob(5, t[2]))}
		}},
		{"a blob gone of a current revision", func(h *testHome, t [8]zodb.TID) []graded {
			h.packed(h.commit(stored{oid: 1, data: data()}))
			h.unlink(layout.Blob(5, t[4]))
			return []graded{h.at(Damage, BlobMissing, layout.Blob(5, t[4]))}
		}},
	}
}

// otherLeftovers are about transactions, and files that were put aside.
// keptByClass is about revisions that a rule of keepclass keeps, and their references.
func keptByClass() []leftoverCase {
	gone := func(rule string, severity, ofBlob Severity) func(h *testHome, t [8]zodb.TID) []graded {
		return func(h *testHome, t [8]zodb.TID) []graded {
			h.commit(stored{oid: 1, data: data(10)})
			h.commit(stored{oid: 1, data: data()})
			h.packed(h.commit(stored{oid: 0, data: data(1, 5)}))
			h.keepClass(rule)
			h.removed(12, t)
			h.unlink(layout.Blob(5, t[2]))
			return []graded{h.dangling(severity, 12, 11), h.at(ofBlob, BlobMissing, layout.Blob(5, t[2]))}
		}
	}
	return []leftoverCase{
		{"only an old revision leads there", gone("", Note, Warning)},
		{"only an old revision that is kept for ever leads there", gone("test.Thing: forever", Damage, Damage)},
		{"only an old revision that is kept for some time leads there", gone("test.Thing: extra 1", Damage, Damage)},
		{"only an old revision that is kept no longer leads there", gone("test.Thing: extra 0", Note, Warning)},
		{"only an old revision of a class without a rule leads there", gone("test.Other: forever", Note, Warning)},
		{"a rule is younger than the pack", func(h *testHome, t [8]zodb.TID) []graded {
			h.keepClass("test.Thing: forever")
			h.unlink(layout.Revision(1, t[1]), layout.Revision(1, t[2]), layout.Revision(5, t[1]), layout.Blob(5, t[1]))
			return nil
		}},
	}
}

// keepClass puts a rule into section keepclass, which is the last one.
func (h *testHome) keepClass(rule string) {
	h.tb.Helper()
	h.write("config/settings", append(h.read("config/settings"), "\n"+rule+"\n"...))
}

func otherLeftovers() []leftoverCase {
	relink := func(h *testHome, tid, previous zodb.TID) {
		h.edit(layout.Transaction(tid), func(b []byte) []byte { copy(b[24:], be64(uint64(previous))); return b })
	}
	return []leftoverCase{
		{"transactions that the chain was linked past", func(h *testHome, t [8]zodb.TID) []graded {
			relink(h, t[4], t[1])
			return []graded{h.at(Warning, TransactionNotInChain, layout.Transaction(t[3]))}
		}},
		{"some of these are gone", func(h *testHome, t [8]zodb.TID) []graded {
			relink(h, t[4], t[1])
			h.putAside(layout.Transaction(t[2]))
			return []graded{h.at(Warning, TransactionNotInChain, layout.Transaction(t[3])), h.at(Warning, TransactionMissing, layout.Transaction(t[2]))}
		}},
		{"a transaction of the time of the pack that is linked past", func(h *testHome, t [8]zodb.TID) []graded {
			h.commit(stored{oid: 1, data: data()})
			relink(h, h.last, t[3])
			return []graded{h.at(Damage, TransactionNotInChain, layout.Transaction(t[4]))}
		}},
		{"a transaction of the time of the pack that is gone", func(h *testHome, t [8]zodb.TID) []graded {
			h.commit(stored{oid: 1, data: data()})
			h.unlink(layout.Transaction(t[4]))
			return []graded{h.at(Damage, TransactionMissing, layout.Transaction(t[4]))}
		}},
		{"transactions list revisions that are gone", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Pointer(13), layout.Revision(13, t[1]), layout.Revision(1, t[3]), layout.Revision(1, t[2]), layout.Revision(1, t[1]))
			return nil
		}},
		{"a transaction later than the pack lists a revision that is gone", func(h *testHome, t [8]zodb.TID) []graded {
			tid := h.commit(stored{oid: 30, data: data()})
			h.unlink(layout.Pointer(30), layout.Revision(30, tid))
			return []graded{{Damage, TransactionListsMissingRevision, h.path(layout.Transaction(tid)), 30, tid, 0}}
		}},
		{"files of each kind were put aside", func(h *testHome, t [8]zodb.TID) []graded {
			h.putAside(layout.Pointer(10), layout.Revision(10, t[1]), layout.Pointer(11), layout.Revision(11, t[1]), layout.Revision(11, t[2]))
			h.putAside(layout.Pointer(12), layout.Revision(12, t[1]), layout.Revision(12, t[2]), layout.Blob(12, t[1]), layout.Blob(12, t[2]))
			relink(h, t[4], t[2])
			h.putAside(layout.Transaction(t[3]))
			relink(h, t[4], t[1])
			h.putAside(layout.Transaction(t[2]))
			return nil
		}},
	}
}

func TestGarbageThatRefersToNothingIsCountedAndExplained(t *testing.T) {
	t.Parallel()
	h, tids := littered(t, layout.Bushy)
	h.removed(12, tids)
	all, s := findings(t, Options{FS: h.fs})
	const want = "one object that nothing reaches refers to it: 000000000000000B; " +
		"this does no harm: an interrupted pack leaves such objects, and the next one removes them"
	if len(all) != 1 || all[0].Detail != want || all[0].FromTID != tids[2] || all[0].Class != "test.Thing" || s.Damage != 0 || s.Notes != 1 {
		t.Errorf("found %+v; %d damaged, %d notes", all, s.Damage, s.Notes)
	}
	h.packed(h.commit(stored{oid: 20, data: data(12)}) + 1)
	all, _ = findings(t, Options{FS: h.fs})
	if len(all) != 1 || !strings.HasPrefix(all[0].Detail, "2 objects that nothing reaches refer to it: 000000000000000B 0000000000000014; ") {
		t.Errorf("found %+v", all)
	}
}

// With Since, and in class Minimal, nobody asks for the reachable objects.
func TestGarbageIsNotLookedForInMinimalNorSince(t *testing.T) {
	t.Parallel()
	h, tids := littered(t, layout.Flat)
	h.removed(12, tids)
	headless, _ := littered(t, layout.Lawn)
	headless.unlink(layout.Pointer(11))
	minimal := newTestHome(t, layout.Chunky, "Minimal")
	for oid, refs := range [][]zodb.OID{0: {1}, 1: {}, 2: {3}} {
		minimal.put(layout.Object(zodb.OID(oid)), minimal.object(record.Object{OID: zodb.OID(oid), Serial: 5, Data: data(refs...)}))
	}
	minimal.last, minimal.maxOID = 5, 3
	minimal.marks()
	minimal.packed(9)
	for _, tc := range []struct {
		name string
		h    *testHome
		o    Options
		want graded
	}{
		{"dangling", h, Options{Since: tids[1]}, h.dangling(Damage, 12, 11)},
		{"pointer", headless, Options{Since: tids[1]}, headless.noPointer(Damage, 11)},
		{"minimal", minimal, Options{}, graded{Damage, DanglingReference, minimal.path(layout.Object(3)), 3, 0, 2}},
	} {
		tc.o.FS = tc.h.fs
		all, _ := findings(t, tc.o)
		if d := gocmp.Diff([]graded{tc.want}, grade(all)); d != "" {
			t.Errorf("%s: findings (-want +got):\n%s", tc.name, d)
		}
	}
}

func TestAnObjectIsNamedOnceForAllItsRevisions(t *testing.T) {
	t.Parallel()
	h, tids := littered(t, layout.Bushy)
	h.removed(12, tids)
	for range 2 {
		h.commit(stored{oid: 1, data: data(12)})
	}
	h.commit(stored{oid: 0, data: data(1, 5, 12)})
	last := h.commit(stored{oid: 0, data: data(1, 5)})
	all, _ := findings(t, Options{FS: h.fs})
	want := "3 objects refer to it: 0000000000000001 0000000000000000 000000000000000B"
	if len(all) != 1 || all[0].Detail != want || all[0].FromTID != last-2<<32 || all[0].Severity != Damage {
		t.Errorf("found %+v", all)
	}
}

func TestReachabilityNeedsMemory(t *testing.T) {
	t.Parallel()
	h, tids := littered(t, layout.Chunky)
	h.commit(stored{oid: 1 << 20, data: data()}, stored{oid: 0, data: data(1, 5, 1<<20)})
	h.packed(h.last + 1)
	h.removed(12, tids)
	for _, tc := range []struct {
		limit int64
		want  Severity
	}{{0, Note}, {1, Damage}} {
		all, _ := findings(t, Options{FS: h.fs, MemoryLimit: tc.limit})
		if d := gocmp.Diff([]graded{h.dangling(tc.want, 12, 11)}, grade(all)); d != "" {
			t.Errorf("limit %d: findings (-want +got):\n%s", tc.limit, d)
		}
	}
}

// The set of reached objects depends neither on the memory for it nor on the reading
// worker.
func TestReachabilityWithAShortList(t *testing.T) {
	t.Parallel()
	const n = 700
	h := newTestHome(t, layout.Flat, "Full")
	h.fill(n, 100)
	// A list after the tree, and garbage that refers to all of it.
	for i := range 100 {
		h.commit(stored{oid: zodb.OID(n + i), data: data(zodb.OID(n + i + 1))})
	}
	h.commit(stored{oid: n + 100, data: data()}, stored{oid: 699, data: data(n)}, stored{oid: 2000, data: data(5, 2001)}, stored{oid: 2001, data: data(0)})
	for _, room := range []int{1, 3, 64, frontierRoom} {
		for _, workers := range []int{1, 4} {
			t.Run(fmt.Sprint(room, " ", workers), func(t *testing.T) {
				t.Parallel()
				c, err := newChecker(Options{FS: h.fs, Workers: workers}, func(f Finding) { t.Error(f) })
				if err != nil {
					t.Fatal(err)
				}
				r := newReach(c, oidset.New(c.memoryLimit))
				r.room = room
				r.reached(0, nil)
				r.spread(t.Context())
				count, last := 0, zodb.OID(0)
				for oid := range r.all.Each() {
					count++
					last = oid
				}
				if r.failed.Load() || count != n+101 || last != n+100 {
					t.Errorf("reached %d objects up to %s, failed: %v; want %d", count, last, r.failed.Load(), n+101)
				}
				for oid := range r.all.Without(r.done) {
					t.Errorf("%s was not read", oid)
				}
			})
		}
	}
}

// cancelling is a file system that cancels something when a file is opened for
// the nth time.
type cancelling struct {
	vfs.FS
	opens  chan struct{} // has room for n - 1
	cancel func()
}

func (c cancelling) Open(name string) (vfs.File, error) {
	select {
	case c.opens <- struct{}{}:
	default:
		c.cancel()
	}
	return c.FS.Open(name)
}

func TestCheckEndsWithItsContextWhereverItIs(t *testing.T) {
	t.Parallel()
	h, tids := littered(t, layout.Lawn)
	h.removed(12, tids)
	ended := 0
	for n := 1; ; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		var all []Finding
		fsys := cancelling{FS: h.fs, opens: make(chan struct{}, n), cancel: cancel}
		_, err := Run(ctx, Options{FS: fsys, Workers: 2}, func(f Finding) { all = append(all, f) })
		cancel()
		if err == nil {
			if d := gocmp.Diff([]graded{h.dangling(Note, 12, 11)}, grade(all)); d != "" {
				t.Errorf("findings (-want +got):\n%s", d)
			}
			break
		}
		if !errors.Is(err, context.Canceled) || slices.ContainsFunc(all, func(f Finding) bool { return f.Severity == Damage }) {
			t.Fatalf("cancelled at open %d: %v; found %v", n, err, all)
		}
		ended++
	}
	if ended < 40 {
		t.Errorf("it was cancelled %d times", ended)
	}
}
