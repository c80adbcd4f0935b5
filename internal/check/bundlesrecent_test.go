package check

import (
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// badPart is a file system on which a part of one file can't be read, once the bundles are open.
type badPart struct {
	vfs.FS
	name     string
	from, to int64
}

func (d badPart) Open(name string) (vfs.File, error) {
	f, err := d.FS.Open(name)
	if err == nil && name == d.name {
		f = badPartOf{f, d}
	}
	return f, err
}

type badPartOf struct {
	vfs.File
	of badPart
}

func (f badPartOf) ReadAt(b []byte, at int64) (int, error) {
	if at < f.of.to && at+int64(len(b)) > f.of.from {
		return 0, &fs.PathError{Op: "read", Path: f.of.name, Err: syscall.EIO}
	}
	return f.File.ReadAt(b, at)
}

// sections returns where the index of a bundle begins, and where its fences do.
func (h *testHome) sections(path string) (index, fences int64) {
	b := h.read(path)
	foot := b[len(b)-248:]
	at := func(k int) int64 {
		v := int64(0)
		for _, x := range foot[112+8*k:][:8] {
			v = v<<8 | int64(x)
		}
		return v
	}
	return at(0), at(3)
}

// twoAges is a home in two bundles: the first has all objects, the second has newer revisions of some.
func twoAges(t *testing.T) (h *testHome, old, recent string, since zodb.TID) {
	t.Helper()
	flat := newTestHome(t, layout.Flat, settings.ClassFull)
	flat.fill(800, 40)
	since = flat.last
	flat.commit(stored{oid: 7, data: data(1, 2, 700)}, stored{oid: 3, data: data(9)})
	h = flat.bundled(ranges{begins: []zodb.TID{since + 1}})
	b := h.bundles()
	if len(b) != 2 {
		t.Fatal(b)
	}
	return h, b[0], b[1], since
}

// TestSinceNamesAnIndexThatItCannotRead: each error that keeps it from looking something up is a finding about
// that bundle, one.
func TestSinceNamesAnIndexThatItCannotRead(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(h *testHome, path string) vfs.FS
		kind   Kind
	}{
		{"disk error", func(h *testHome, path string) vfs.FS {
			index, fences := h.sections(path)
			return badPart{h.fs, path, index, fences}
		}, Unreadable},
		{"changed bytes", func(h *testHome, path string) vfs.FS {
			index, fences := h.sections(path)
			b := h.read(path)
			for at := index; at < fences; at += 64 {
				b[at] ^= 0x10
			}
			h.write(path, b)
			return h.fs
		}, BundleIndex},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, which := range []string{"the one before", "the one with later transactions"} {
				h, path, recent, since := twoAges(t)
				if which != "the one before" {
					path = recent
				}
				damaged := tc.damage(h, path)
				all, _ := findings(t, Options{FS: damaged, Since: since})
				about := 0
				for _, f := range all {
					if f.Path == path && f.Severity == Damage && !f.HasOID && f.TID == 0 {
						about++
						if f.Kind != tc.kind {
							t.Errorf("%s: found %v, want %s", which, f, tc.kind)
						}
					}
				}
				if about != 1 {
					t.Errorf("%s: %d findings about it: %v", which, about, kindsOf(all))
				}
				if which == "the one before" && len(all) != 1 {
					t.Errorf("one cause has %d findings: %v", len(all), kindsOf(all))
				}
			}
		})
	}
}

// TestSinceReadsOnWithoutAnIndex: a bundle with later transactions whose index is damaged is read frame by
// frame, and any other fault in it is found.
func TestSinceReadsOnWithoutAnIndex(t *testing.T) {
	t.Parallel()
	flat := newTestHome(t, layout.Flat, settings.ClassFull)
	flat.fill(100, 40)
	since := flat.last
	flat.commit(stored{oid: 7, data: data(1, 2)}, stored{oid: 8, data: data(5000)})
	h := flat.bundled(ranges{begins: []zodb.TID{since + 1}})
	path := h.bundles()[1]
	b := h.read(path)
	index, _ := h.sections(path)
	b[index] ^= 1
	h.write(path, b)
	all, s := findings(t, Options{FS: h.fs, Since: since})
	kinds := make([]string, 0, len(all))
	for _, f := range all {
		kinds = append(kinds, string(f.Kind))
	}
	slices.Sort(kinds)
	if got := strings.Join(kinds, " "); got != "bundle-index dangling-reference" || s.Revisions != 2 {
		t.Errorf("%s, %d revisions: %v", got, s.Revisions, kindsOf(all))
	}
}

// TestSinceNamesAPointerThatOnlyAReferenceLeadsTo: in the formats of a file each it is damaged, or can't be
// read, and its object was not changed.
func TestSinceNamesAPointerThatOnlyAReferenceLeadsTo(t *testing.T) {
	t.Parallel()
	h := newTestHome(t, layout.Chunky, settings.ClassFull)
	h.fill(100, 40)
	since := h.last
	h.commit(stored{oid: 7, data: data(40, 41, 42)})
	h.put(layout.Pointer(40), []byte("short"))
	disk := badDisk{h.fs, []string{h.path(layout.Pointer(41))}}
	all, _ := findings(t, Options{FS: disk, Since: since})
	got := make(map[zodb.OID]Kind)
	for _, f := range all {
		got[f.OID] = f.Kind
	}
	if len(all) != 2 || got[40] != PointerLength || got[41] != Unreadable {
		t.Errorf("found %v", kindsOf(all))
	}
}

// TestSinceNamesARevisionBeforeThatCannotBeLookedFor has a directory that can't be searched.
func TestSinceNamesARevisionBeforeThatCannotBeLookedFor(t *testing.T) {
	t.Parallel()
	h := newTestHome(t, layout.Flat, settings.ClassFull)
	h.fill(100, 40)
	since, before := h.last, h.serial[7]
	h.commit(stored{oid: 7, data: data()})
	n := layout.Revision(7, before)
	all, _ := findings(t, Options{FS: badStat{h.fs, h.path(n)}, Since: since})
	if len(all) != 1 || all[0].Kind != Unreadable || all[0].OID != 7 || all[0].TID != before {
		t.Errorf("found %v", kindsOf(all))
	}
}

// badStat is a file system on which one file can't be looked at.
type badStat struct {
	vfs.FS
	name string
}

func (d badStat) Stat(name string) (vfs.Info, error) {
	if name == d.name {
		return vfs.Info{}, &fs.PathError{Op: "stat", Path: name, Err: syscall.EIO}
	}
	return d.FS.Stat(name)
}
