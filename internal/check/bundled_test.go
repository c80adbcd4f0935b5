package check

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/zodb"
)

// ranges are where bundles of a testHome begin, and their options.
type ranges struct {
	begins []zodb.TID // of bundles; empty: one bundle
	opt    bundle.Options
}

// bundled makes a home of format bundled of a flat one: its revisions and transactions as they are,
// damaged or not, in bundles.
func (h *testHome) bundled(o ranges) *testHome {
	h.tb.Helper()
	b := newTestHome(h.tb, layout.Bundled, settings.ClassFull)
	b.last, b.maxOID = h.last, h.maxOID
	var members []layout.Name
	names, err := os.ReadDir(filepath.Join(h.dir, "A"))
	if err != nil {
		h.tb.Fatal(err)
	}
	b.remove("A", "config/identity")
	err = filepath.WalkDir(h.dir, func(path string, e os.DirEntry, err error) error {
		rel, _ := filepath.Rel(h.dir, path)
		if err == nil && e.IsDir() && rel == "A" {
			return filepath.SkipDir
		}
		if err == nil && !e.IsDir() && rel != "config/settings" {
			b.write(rel, h.read(rel))
		}
		return err
	})
	if err != nil {
		h.tb.Fatal(err)
	}
	for _, e := range names {
		n, ok := layout.Flat.Parse(e.Name())
		switch {
		case !ok:
			b.write("A/"+e.Name(), h.read("A/"+e.Name()))
		case n.Kind == layout.KindPointer:
		case inBundle(n):
			members = append(members, n)
		default:
			b.put(n, h.read("A/"+e.Name()))
		}
	}
	slices.SortFunc(members, func(x, y layout.Name) int {
		return cmp.Or(cmp.Compare(x.TID, y.TID), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.OID, y.OID))
	})
	b.mkdir("A/bundles")
	id, err := hex.DecodeString("00112233445566778899aabbccddeeff")
	if err != nil {
		h.tb.Fatal(err)
	}
	copy(o.opt.Identity[:], id)
	o.opt.HighestOID = h.maxOID
	previous := zodb.TID(0)
	begins := append(slices.Clone(o.begins), h.last+1)
	for len(members) > 0 {
		for begins[0] <= members[0].TID {
			begins = begins[1:]
		}
		end := slices.IndexFunc(members, func(n layout.Name) bool { return n.TID >= begins[0] })
		if end < 0 {
			end = len(members)
		}
		o.opt.Min, o.opt.Max, o.opt.Previous = members[0].TID, members[end-1].TID, previous
		b.bundle(o.opt, members[:end], func(n layout.Name) []byte { return h.read(h.path(n)) })
		previous, members = o.opt.Max, members[end:]
	}
	return b
}

// bundle writes one.
func (h *testHome) bundle(o bundle.Options, members []layout.Name, read func(layout.Name) []byte) string {
	h.tb.Helper()
	var out bytes.Buffer
	w, err := bundle.NewWriter(&out, o)
	if err != nil {
		h.tb.Fatal(err)
	}
	defer w.Abort()
	for i, n := range members {
		content := read(n)
		if n.Kind == layout.KindTransaction {
			err = w.Transaction(n.TID, flagsOf(n, content), content)
		} else {
			if i > 0 && members[i-1].TID != n.TID {
				w.WithoutTransaction()
			}
			err = w.Revision(n.OID, n.TID, flagsOf(n, content), content)
		}
		if err != nil {
			h.tb.Fatal(err)
		}
	}
	w.WithoutTransaction()
	i, err := w.Close()
	if err != nil {
		h.tb.Fatal(err)
	}
	name := "A/bundles/" + bundle.Name{Min: i.Min, Max: i.Max, Generation: i.Generation}.String()
	h.write(name, out.Bytes())
	return name
}

// bundles returns the paths of the bundles, in order.
func (h *testHome) bundles() (list []string) {
	h.tb.Helper()
	names, err := filepath.Glob(filepath.Join(h.dir, "A/bundles/*.tar.zst"))
	if err != nil {
		h.tb.Fatal(err)
	}
	for _, n := range names {
		list = append(list, "A/bundles/"+filepath.Base(n))
	}
	return list
}

// of returns the path of the bundle that has a transaction.
func (h *testHome) of(tid zodb.TID) string {
	h.tb.Helper()
	for _, path := range h.bundles() {
		if n, _, ok := bundle.ParseName(filepath.Base(path)); ok && n.Min <= tid && tid <= n.Max {
			return path
		}
	}
	return "A/bundles"
}

func kindsOf(all []Finding) (list []string) {
	for _, f := range all {
		list = append(list, string(f.Severity)+" "+string(f.Kind)+" "+f.Path+": "+f.Detail)
	}
	slices.Sort(list)
	return list
}

// TestASoundHomeOfBundlesGivesNoFinding compares the counts with those of the home that it was made
// of.
func TestASoundHomeOfBundlesGivesNoFinding(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	flat := newTestHome(t, layout.Flat, settings.ClassFull)
	flat.fill(3000, 40)
	small, tids := sample(t, layout.Flat)
	for _, tc := range []struct {
		name string
		of   *testHome
		how  ranges
	}{
		{"one of everything", small, ranges{}},
		{"a bundle each", small, ranges{begins: tids[1:]}},
		{"many", flat, ranges{opt: bundle.Options{FrameSize: 1024}}},
		{"many in several", flat, ranges{begins: []zodb.TID{firstTID + 7<<32, firstTID + 20<<32, firstTID + 77<<32}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := tc.of.bundled(tc.how)
			for _, o := range []Options{{FS: b.fs, Root: true}, {FS: b.fs, Root: true, SnapshotOnly: true}, {FS: b.fs, Workers: 1}, {FS: b.fs, Since: firstTID + 2<<32}} {
				all, got := findings(t, o)
				if len(all) > 0 {
					t.Errorf("%+v: %v", o, kindsOf(all))
				}
				o.FS = tc.of.fs
				_, want := findings(t, o)
				want.Format, want.Files, want.Bytes = got.Format, got.Files, got.Bytes
				if d := gocmp.Diff(want, got); d != "" {
					t.Errorf("%+v: summary (-flat +bundled):\n%s", o, d)
				}
			}
		})
	}
}

// TestClassicDamageInBundles has each damage of the classic formats, that of pointers left out,
// inside of a bundle: the findings are those of the classic formats, in the file of the bundle.
func TestClassicDamageInBundles(t *testing.T) {
	t.Parallel()
	done := 0
	for i, tc := range damages() {
		if strings.Contains(tc.name, "pointer") || slices.Contains([]string{"deleted files", "directories without end", "symbolic link"}, tc.name) {
			continue // there are no such files
		}
		done++
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			flat, tids := sample(t, layout.Flat)
			tc.damage(flat, tids)
			how := ranges{}
			if i%2 == 1 {
				how.begins = []zodb.TID{tids[3], tids[6]}
			}
			h := flat.bundled(how)
			all, _ := findings(t, Options{FS: h.fs, Root: true, Now: func() time.Time { return h.last.Time() }})
			got, wanted := worseThanNotes(all), []want(nil)
			for _, w := range tc.want(tids) {
				switch {
				case w.Path != "":
				case inBundle(w.Name):
					w.Path = h.of(w.Name.TID)
				case w.Name.Kind == layout.KindPointer:
					w.Path = "A/bundles"
				default:
					w.Path = h.path(w.Name)
				}
				w.Name = layout.Name{}
				wanted = append(wanted, w)
			}
			order := func(a, b want) int {
				return cmp.Or(strings.Compare(string(a.Kind)+a.Path, string(b.Kind)+b.Path), cmp.Compare(a.OID, b.OID), cmp.Compare(a.TID, b.TID))
			}
			slices.SortFunc(got, order)
			slices.SortFunc(wanted, order)
			if d := gocmp.Diff(wanted, got); d != "" {
				t.Errorf("findings (-want +got):\n%s\n%s", d, strings.Join(kindsOf(all), "\n"))
			}
		})
	}
	if done < 30 {
		t.Errorf("%d cases", done)
	}
}
