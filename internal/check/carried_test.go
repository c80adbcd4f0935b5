package check

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/dirstorage/dirstorage/internal/hometest"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
)

// carrying puts the next generation of a bundle in its place, which carries a list of some members.
func (h *testHome) carrying(path string, members ...uint32) string {
	h.tb.Helper()
	n, _, ok := bundle.ParseName(filepath.Base(path))
	if !ok {
		h.tb.Fatal(path)
	}
	b := h.read(path)
	r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), path)
	if err != nil {
		h.tb.Fatal(err)
	}
	n.Generation++
	var out bytes.Buffer
	_, err = bundle.Merge(h.tb.Context(), &out, bundle.Options{Identity: r.Identity, Min: n.Min, Max: n.Max, Generation: n.Generation, Previous: r.Previous, HighestOID: r.HighestOID},
		[]bundle.Source{{Reader: r, Gone: (*bundle.Gone)(nil).With(r.Sum, 7, roaring.BitmapOf(members...))}})
	if err != nil {
		h.tb.Fatal(err)
	}
	h.remove(path)
	to := "A/bundles/" + n.String()
	h.write(to, out.Bytes())
	return to
}

// TestACarriedListCounts: members that a bundle calls gone are gone, until a list beside it says something else.
// Each changed byte of such a bundle is found.
func TestACarriedListCounts(t *testing.T) {
	t.Parallel()
	h, tids := threeBundles(t)
	h.put(layout.XPacked, be64(uint64(tids[3])))
	before, _ := findings(t, Options{FS: h.fs, Root: true})
	_, all := findings(t, Options{FS: h.fs, Root: true})
	path := h.carrying(h.bundles()[0], 1) // the first revision of 1, which T2 replaced
	found, n := findings(t, Options{FS: h.fs, Root: true})
	if len(found) > len(before) || n.Revisions != all.Revisions-1 {
		t.Fatalf("%d revisions, there were %d: %v", n.Revisions, all.Revisions, kindsOf(found))
	}
	list := h.gone(path, 1, func(g *bundle.Gone) { g.Sets = nil }, 0)
	if found, n := findings(t, Options{FS: h.fs, Root: true}); len(found) > len(before) || n.Revisions != all.Revisions {
		t.Errorf("with an empty list beside it: %d revisions, there were %d: %v", n.Revisions, all.Revisions, kindsOf(found))
	}
	h.remove(list)
	step := hometest.OneOf(1, 5, 13)
	whole := h.read(path)
	end := len(whole) - bundle.FooterSize
	for at := hometest.Phase(t) % step; at < len(whole); at += step {
		changed := slices.Clone(whole)
		changed[at] ^= 1 << (at % 8)
		h.write(path, changed)
		found, _ := findings(t, Options{FS: h.fs, Root: true})
		if inEnd(whole, at) {
			continue
		}
		if !slices.ContainsFunc(found, func(f Finding) bool { return f.Path == path && f.Severity == Damage }) {
			t.Errorf("byte %d of %d: %v", at, len(whole), kindsOf(found))
		}
		if at > end-50 && at < end && !slices.ContainsFunc(found, func(f Finding) bool {
			return f.Path == path && f.Kind == GoneDamaged && strings.Contains(f.Detail, "there again")
		}) {
			t.Errorf("byte %d of %d, in the list: %v", at, len(whole), kindsOf(found))
		}
	}
}

// TestACarriedListOfANewerReleaseIsNotDamage: the footer of the bundle is. That release has to look at it.
func TestACarriedListOfANewerReleaseIsNotDamage(t *testing.T) {
	t.Parallel()
	h, _ := threeBundles(t)
	path := h.carrying(h.bundles()[0], 1)
	b := h.read(path)
	end := len(b) - bundle.FooterSize
	b[end+100] ^= 1
	h.write(path, b)
	if found, _ := findings(t, Options{FS: h.fs}); !slices.ContainsFunc(found, func(f Finding) bool { return f.Path == path && f.Severity == Damage }) {
		t.Fatalf("of this release: %v", kindsOf(found))
	}
	list := b[bytes.LastIndex(b[:end], []byte("DSgone\r\n")):end]
	binary.BigEndian.PutUint32(list[8:], 9)
	binary.BigEndian.PutUint32(list[len(list)-4:], crc32.Checksum(list[:len(list)-4], crc32.MakeTable(crc32.Castagnoli)))
	h.write(path, b)
	_, err := Run(t.Context(), Options{FS: h.fs}, func(Finding) {})
	if newer, ok := errors.AsType[*layout.NewerError](err); !ok || newer.Path != path {
		t.Errorf("%v, want that a newer release wrote %s", err, path)
	}
}
