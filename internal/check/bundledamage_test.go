package check

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/dirstorage/dirstorage/internal/hometest"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// threeBundles is the sample home, in bundles of T1 and T2, T3 to T5, T6 and T7.
func threeBundles(tb testing.TB) (h *testHome, t [8]zodb.TID) {
	flat, t := sample(tb, layout.Flat)
	return flat.bundled(ranges{begins: []zodb.TID{t[3], t[6]}}), t
}

// gone puts a gone list of a bundle.
func (h *testHome) gone(path string, number uint64, change func(g *bundle.Gone), members ...uint32) string {
	h.tb.Helper()
	n, _, ok := bundle.ParseName(filepath.Base(path))
	if !ok {
		h.tb.Fatal(path)
	}
	b := h.read(path)
	r, err := bundle.Open(strings.NewReader(string(b)), int64(len(b)), path)
	if err != nil {
		h.tb.Fatal(err)
	}
	g := (*bundle.Gone)(nil).With(r.Sum, 7, roaring.BitmapOf(members...))
	if change != nil {
		change(g)
	}
	out, err := g.Append(nil)
	if err != nil {
		h.tb.Fatal(err)
	}
	name := "A/bundles/" + n.Gone(number)
	h.write(name, out)
	return name
}

// TestEachDamageOfABundleIsNamed damages the files of bundles: each damage has a finding about that
// file, of the kind that fits it, and no other but those that are listed.
func TestEachDamageOfABundleIsNamed(t *testing.T) {
	t.Parallel()
	type damaged struct {
		Path string
		Kind Kind
	}
	rename := func(h *testHome, from, to string) string {
		b := h.read(from)
		h.remove(from)
		h.write(to, b)
		return to
	}
	for _, tc := range []struct {
		name   string
		damage func(h *testHome, tids [8]zodb.TID, b []string) []damaged
	}{
		{"cut off", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			h.write(b[1], h.read(b[1])[:len(h.read(b[1]))-10])
			return []damaged{{b[1], BundleIndex}, {b[1], BundleFrame}} // the part cut off might have been one
		}},
		{"a longer file", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			h.write(b[1], append(h.read(b[1]), 0))
			return []damaged{{b[1], BundleIndex}, {b[1], BundleFrame}}
		}},
		{"nothing left", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			h.write(b[2], nil)
			return []damaged{{b[2], BundleIndex}, {"A/bundles", TransactionMissing}, {"A/bundles", RevisionMissing}}[:1]
		}},
		{"two exchanged", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			x, y := h.read(b[0]), h.read(b[1])
			h.write(b[0], y)
			h.write(b[1], x)
			return []damaged{{b[0], BundleName}, {b[1], BundleName}}
		}},
		{"another range in the name", func(h *testHome, tids [8]zodb.TID, b []string) []damaged {
			return []damaged{{rename(h, b[1], "A/bundles/"+bundle.Name{Min: tids[3], Max: tids[5] + 1}.String()), BundleName}}
		}},
		{"another generation in the name", func(h *testHome, tids [8]zodb.TID, b []string) []damaged {
			return []damaged{{rename(h, b[1], "A/bundles/"+bundle.Name{Min: tids[3], Max: tids[5], Generation: 1}.String()), BundleName}}
		}},
		{"a copy in the next generation", func(h *testHome, tids [8]zodb.TID, b []string) []damaged {
			to := "A/bundles/" + bundle.Name{Min: tids[3], Max: tids[5], Generation: 1}.String()
			h.write(to, h.read(b[1]))
			return []damaged{{to, BundleName}}
		}},
		{"no name of a bundle", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			return []damaged{{rename(h, b[2], "A/bundles/#123"), StrayFile}, {"A/bundles", BundleMissing}}
		}},
		{"the last one missing", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			h.remove(b[2])
			return []damaged{{"A/bundles", BundleMissing}}
		}},
		{"overlapping ranges", func(h *testHome, tids [8]zodb.TID, b []string) []damaged {
			r := h.bundle(bundle.Options{Identity: h.identity(), Min: tids[5], Max: tids[6], Previous: tids[4]}, nil, nil)
			return []damaged{{r, BundleRange}, {b[2], BundleRange}}
		}},
		{"another database", func(h *testHome, tids [8]zodb.TID, b []string) []damaged {
			var members []layout.Name
			content := make(map[layout.Name][]byte)
			h.members(b[1], func(n layout.Name, c []byte) { members, content[n] = append(members, n), slices.Clone(c) })
			h.bundle(bundle.Options{Identity: [16]byte{9}, Min: tids[3], Max: tids[5], Previous: tids[2]}, members, func(n layout.Name) []byte { return content[n] })
			return []damaged{{b[1], BundleForeign}}
		}},
		{"a list of another bundle", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			return []damaged{{h.gone(b[1], 1, func(g *bundle.Gone) { g.Sum[3]++ }, 1), GoneDamaged}}
		}},
		{"a list with a member that is not there", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			return []damaged{{h.gone(b[1], 1, nil, 10), GoneDamaged}}
		}},
		{"a list that is cut off", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			path := h.gone(b[1], 4, nil, 0)
			h.write(path, h.read(path)[:50])
			return []damaged{{path, GoneDamaged}}
		}},
		{"the index of other members", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			h.patchIndex(b[1], func(x []byte, _ int) { x[15]++ }) // the tid of the first revision
			return []damaged{{b[1], BundleMember}, {b[1], RevisionMissing}, {b[1], TransactionListsMissingRevision}}[:1]
		}},
		{"a wrong flag in the index", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			h.patchIndex(b[1], func(x []byte, _ int) { x[23] ^= 4 })
			return []damaged{{b[1], BundleMember}}
		}},
		{"a wrong place in the index", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			h.patchIndex(b[1], func(x []byte, _ int) { x[21]++ })
			return []damaged{{b[1], BundleMember}, {b[1], Unreadable}}
		}},
		{"a wrong beginning of a transaction", func(h *testHome, _ [8]zodb.TID, b []string) []damaged {
			h.patchIndex(b[1], func(x []byte, revisions int) { x[28*revisions+8+28+25]++ })
			return []damaged{{b[1], BundleIndex}}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h, tids := threeBundles(t)
			want := tc.damage(h, tids, h.bundles())
			all, _ := findings(t, Options{FS: h.fs, Root: true})
			var got []damaged
			for _, f := range all {
				if d := (damaged{f.Path, f.Kind}); f.Severity != Note && !slices.Contains(got, d) {
					got = append(got, d)
				}
			}
			for _, d := range want {
				if !slices.Contains(got, d) {
					t.Errorf("%+v is not found", d)
				}
			}
			if tc.name == "nothing left" || tc.name == "the index of other members" || tc.name == "the last one missing" || tc.name == "no name of a bundle" {
				return // lost files have findings of their own
			}
			order := func(a, b damaged) int { return strings.Compare(a.Path+string(a.Kind), b.Path+string(b.Kind)) }
			slices.SortFunc(got, order)
			slices.SortFunc(want, order)
			if d := gocmp.Diff(want, got); d != "" {
				t.Errorf("findings (-want +got):\n%s\n%s", d, strings.Join(kindsOf(all), "\n"))
			}
		})
	}
}

func (h *testHome) identity() [16]byte {
	return [16]byte{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
}

// members calls f for each member of a bundle, in order.
func (h *testHome) members(path string, f func(n layout.Name, content []byte)) {
	h.tb.Helper()
	b := h.read(path)
	for m, err := range bundle.Scan(strings.NewReader(string(b)), int64(len(b)), path) {
		if err != nil {
			h.tb.Fatal(err)
		}
		f(m.Name, m.Content)
	}
}

// patchIndex changes the index of a bundle, which begins with the revisions, and makes all
// checksums fit again.
func (h *testHome) patchIndex(path string, change func(index []byte, revisions int)) {
	h.tb.Helper()
	b := h.read(path)
	foot := b[len(b)-248:]
	at := func(k int) int { return int(binary.BigEndian.Uint64(foot[112+8*k:])) }
	revisions := int(binary.BigEndian.Uint64(foot[72:]))
	change(b[at(0):at(2)], revisions)
	table := crc32.MakeTable(crc32.Castagnoli)
	// One block a section.
	for k := range 3 {
		end := at(k+1) - 8
		binary.BigEndian.PutUint32(b[at(3)+20*k+16:], crc32.Checksum(b[at(k):end], table))
		copy(b[at(3)+20*k:], b[at(k):at(k)+8])
		if k == 0 {
			copy(b[at(3)+8:], b[at(k)+8:at(k)+16])
		}
	}
	end := len(b) - 256
	binary.BigEndian.PutUint32(foot[176:], crc32.Checksum(b[at(3):end], table))
	sum := sha256.Sum256(b[binary.BigEndian.Uint64(foot[104:]):end])
	copy(foot[144:], sum[:])
	binary.BigEndian.PutUint32(foot[236:], crc32.Checksum(foot[:236], table))
	h.write(path, b)
}

// TestEachChangedByteOfABundleIsFound changes each byte of a bundle, and of a gone list:
// the damage has that file.
func TestEachChangedByteOfABundleIsFound(t *testing.T) {
	t.Parallel()
	h, tids := threeBundles(t)
	h.put(layout.XPacked, be64(uint64(tids[3])))
	b := h.bundles()
	list := h.gone(b[0], 1, nil, 1) // the first revision of 1, which T2 replaced
	if all, _ := findings(t, Options{FS: h.fs, Root: true}); len(all) > 0 {
		t.Fatal(kindsOf(all))
	}
	step := hometest.OneOf(1, 5, 13)
	for _, path := range []string{b[1], list} {
		whole := h.read(path)
		for at := hometest.Phase(t) % step; at < len(whole); at += step {
			changed := slices.Clone(whole)
			changed[at] ^= 1 << (at % 8)
			h.write(path, changed)
			all, _ := findings(t, Options{FS: h.fs, Root: true})
			if path == b[1] && inEnd(whole, at) {
				continue // other bytes may decode to the same, and no member is there
			}
			if !slices.ContainsFunc(all, func(f Finding) bool { return f.Path == path && f.Severity == Damage }) {
				t.Errorf("byte %d of %s: %v", at, path, kindsOf(all))
			}
		}
		h.write(path, whole)
	}
}

// inEnd reports whether a byte is in the frame that ends the tar, which has no sum in the index.
func inEnd(b []byte, at int) bool {
	foot := b[len(b)-248:]
	last := b[binary.BigEndian.Uint64(foot[112+8*3:])-8-24:] // the entry before the fences
	return uint64(at) >= binary.BigEndian.Uint64(last)+binary.BigEndian.Uint64(last[8:]) && uint64(at) < binary.BigEndian.Uint64(foot[104:])
}

// TestADamagedFrameCostsThatFrame damages one frame of many: its revisions have findings, and
// nothing else has.
func TestADamagedFrameCostsThatFrame(t *testing.T) {
	t.Parallel()
	flat := newTestHome(t, layout.Flat, "Full")
	flat.fill(600, 40)
	h := flat.bundled(ranges{opt: bundle.Options{FrameSize: 4096}})
	path := h.bundles()[0]
	b := h.read(path)
	lost := make(map[layout.Name]bool)
	at := int64(-1)
	for range 2 {
		for m, err := range bundle.Scan(strings.NewReader(string(b)), int64(len(b)), path) {
			if err != nil {
				t.Fatal(err)
			}
			if at < 0 && m.Name.TID > firstTID+5<<32 {
				at = m.Frame.Offset
			}
			if m.Frame.Offset == at {
				lost[m.Name] = true
			}
		}
	}
	b[at+20] ^= 1
	h.write(path, b)
	all, s := findings(t, Options{FS: h.fs, Root: true})
	frames := 0
	for _, f := range all {
		switch {
		case f.Kind == BundleFrame:
			frames++
		case f.Kind == Unreadable && f.HasOID && lost[layout.Revision(f.OID, f.TID)]:
			delete(lost, layout.Revision(f.OID, f.TID))
		case f.Kind == Unreadable && lost[layout.Transaction(f.TID)]:
			delete(lost, layout.Transaction(f.TID))
		default:
			t.Errorf("%+v", f)
		}
	}
	if frames != 1 || len(lost) > 0 || s.Objects != 600 {
		t.Errorf("%d findings of the frame, %d objects; without a finding: %v", frames, s.Objects, lost)
	}
}

// serials returns the newest revision of each object.
func (h *testHome) serials() map[zodb.OID]zodb.TID {
	serials := make(map[zodb.OID]zodb.TID)
	for _, path := range h.bundles() {
		h.members(path, func(n layout.Name, _ []byte) {
			if n.Kind == layout.KindRevision {
				serials[n.OID] = max(serials[n.OID], n.TID)
			}
		})
	}
	return serials
}
