package salvage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/zodb"
)

// newBundledWreck is the golden home of the format flat, in bundles of two transactions each, in
// small frames. It returns the paths of the bundles.
func newBundledWreck(t *testing.T) (w *wreck, bundles []string) {
	t.Helper()
	w = newWreck(t, "flat")
	content := make(map[layout.Name][]byte)
	for name, b := range w.files() {
		n, ok := layout.Flat.Parse(strings.TrimPrefix(name, "A/"))
		if ok && (n.Kind == layout.KindRevision || n.Kind == layout.KindTransaction) {
			content[n] = []byte(b)
		}
		if ok && n.Kind < layout.KindXOID {
			if err := os.Remove(filepath.Join(w.dir, "home", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.write("home", "config/settings", settings.Default(settings.ClassFull, layout.Bundled).Render())
	id, err := hex.DecodeString(string(w.read("home", "config/identity"))[:32])
	if err != nil {
		t.Fatal(err)
	}
	var names []layout.Name
	for n := range content {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b layout.Name) int {
		return cmp.Or(cmp.Compare(a.TID, b.TID), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.OID, b.OID))
	})
	previous := zodb.TID(0)
	highest := zodb.OID(binary.BigEndian.Uint64(w.read("home", "A/x.oid")))
	for len(names) > 0 {
		end, transactions := 0, 0
		for end < len(names) && transactions < 2 {
			if names[end].Kind == layout.KindTransaction {
				transactions++
			}
			end++
		}
		if len(names)-end < 4 {
			end = len(names)
		}
		o := bundle.Options{Identity: [16]byte(id), Min: names[0].TID, Max: names[end-1].TID, Previous: previous, HighestOID: highest, FrameSize: 1024}
		var out bytes.Buffer
		b, err := bundle.NewWriter(&out, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names[:end] {
			if n.Kind == layout.KindTransaction {
				err = b.Transaction(n.TID, flagsOf(n, content[n]), content[n])
			} else {
				err = b.Revision(n.OID, n.TID, flagsOf(n, content[n]), content[n])
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Close(); err != nil {
			t.Fatal(err)
		}
		path := bundlesDir + bundle.Name{Min: o.Min, Max: o.Max}.String()
		w.write("home", path, out.Bytes())
		bundles = append(bundles, path)
		previous, names = o.Max, names[end:]
	}
	if len(bundles) < 3 {
		t.Fatal(bundles)
	}
	w.checkIsClean()
	return w, bundles
}

// opens makes sure that the store can be opened for writing.
func (w *wreck) opens() {
	w.tb.Helper()
	s, err := bundled.New(bundled.Options{FS: w.home, Clock: time.Now})
	if err != nil {
		w.tb.Fatal(err)
	}
	if err := s.Close(); err != nil {
		w.tb.Error(err)
	}
}

// gone puts a gone list of a bundle, with one member.
func (w *wreck) gone(path string, number uint64, member uint32) string {
	w.tb.Helper()
	b := w.read("home", path)
	r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), path)
	if err != nil {
		w.tb.Fatal(err)
	}
	content, err := (*bundle.Gone)(nil).With(r.Sum, 99, roaring.BitmapOf(member)).Append(nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	name := bundlesDir + nameOf(&r.Info).Gone(number)
	w.write("home", name, content)
	return name
}

// TestLostBundlesGetTheirPlacesBack loses the names of bundles, of gone lists and of x
// files, and damages footers and indexes: all of it comes back, byte for byte.
func TestLostBundlesGetTheirPlacesBack(t *testing.T) {
	t.Parallel()
	flip := func(w *wreck, lost string, at int) {
		b := w.read("lost+found", lost)
		b[(at+len(b))%len(b)] ^= 1
		w.write("lost+found", lost, b)
	}
	for _, tc := range []struct {
		name string
		do   func(w *wreck, b []string)
	}{
		{"names", func(w *wreck, b []string) {
			for _, path := range b {
				w.lose(path)
			}
		}},
		{"names and x files", func(w *wreck, b []string) {
			w.lose(b[1])
			w.lose("A/x.oid")
			w.lose("A/x.serial")
		}},
		{"a bundle and its list", func(w *wreck, b []string) {
			w.lose(w.gone(b[0], 1, 0))
			w.lose(b[0])
		}},
		{"a list with its name", func(w *wreck, b []string) {
			path := w.gone(b[0], 7, 0)
			w.write("lost+found", path, w.read("home", path))
			if err := os.Remove(filepath.Join(w.dir, "home", path)); err != nil {
				t.Fatal(err)
			}
		}},
		{"footers", func(w *wreck, b []string) {
			for _, path := range b {
				flip(w, w.lose(path), -5)
			}
		}},
		{"a footer cut off", func(w *wreck, b []string) {
			lost := w.lose(b[1])
			w.write("lost+found", lost, w.read("lost+found", lost)[:len(w.read("lost+found", lost))-200])
		}},
		{"the index cut off", func(w *wreck, b []string) {
			w.tabled() // which says that no list is lost with it
			lost := w.lose(b[2])
			x := w.read("lost+found", lost)
			w.write("lost+found", lost, x[:binary.BigEndian.Uint64(x[len(x)-248+104:])])
		}},
		{"indexes", func(w *wreck, b []string) {
			for i, path := range b {
				flip(w, w.lose(path), -256-30*(1+i))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w, b := newBundledWreck(t)
			if strings.Contains(tc.name, "list") {
				n := uint64(1)
				if strings.Contains(tc.name, "with its name") {
					n = 7
				}
				w.gone(b[0], n, 0)
			}
			before := w.files()
			tc.do(w, b)
			actions := w.salvage()
			if d := gocmp.Diff(before, w.files()); d != "" {
				t.Errorf("A after salvage (-before +after):\n%s\n%+v", d, actions)
			}
			if !strings.Contains(tc.name, "list") {
				w.checkIsClean()
			}
			w.opens()
			if again := w.salvage(); slices.ContainsFunc(again, func(a Action) bool { return a.Verb == Place || a.Verb == Make && a.From == "" }) {
				t.Errorf("the second time: %+v", again)
			}
		})
	}
}

// TestADamagedFrameCostsThatFrame: the bundle comes back in the next generation, without the
// members of the frame, and with the removals by packs among the rest.
func TestADamagedFrameCostsThatFrame(t *testing.T) {
	t.Parallel()
	for _, cut := range []bool{false, true} {
		w, b := newBundledWreck(t)
		path := b[1]
		x := w.read("home", path)
		r, err := bundle.Open(bytes.NewReader(x), int64(len(x)), path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.Frame(1)
		if err != nil {
			t.Fatal(err)
		}
		lost := make(map[layout.Name]bool)
		kept := uint32(0)
		number := uint32(0)
		for e, err := range r.RevisionsFrom(0) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Frame == 1 {
				lost[e.Name()] = true
			} else {
				kept = number
			}
			number++
		}
		for e, err := range r.TransactionsFrom(0) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Frame == 1 {
				lost[e.Name()] = true
			}
		}
		gone := w.gone(path, 1, kept)
		name := w.lose(path)
		x[f.Offset+f.Size/2] ^= 4
		if cut {
			x = x[:len(x)-9]
		}
		w.write("lost+found", name, x)
		actions := w.salvage()
		n, _, _ := bundle.ParseName(filepath.Base(path))
		n.Generation = 1
		y, ok := w.files()[bundlesDir+n.String()]
		if !ok {
			t.Fatalf("%+v", actions)
		}
		again, err := bundle.Open(strings.NewReader(y), int64(len(y)), path)
		if err == nil {
			err = again.Verify()
		}
		if err != nil {
			t.Fatal(err)
		}
		if cut != (again.Previous != r.Previous) && again.Previous != r.Previous {
			t.Errorf("it follows %s, want %s", again.Previous, r.Previous)
		}
		have, err := numbersOf(again)
		if err != nil {
			t.Fatal(err)
		}
		err = r.EachMember(func(n layout.Name, _ int64) {
			if _, ok := have[n]; ok == lost[n] {
				t.Errorf("%s is there: %v; its frame was damaged: %v", n, ok, lost[n])
			}
		})
		if err != nil {
			t.Error(err)
		}
		told := slices.ContainsFunc(actions, func(a Action) bool {
			return a.Verb == Doubtful && a.To == gone && strings.Contains(a.Detail, "are there again")
		})
		if told != cut {
			t.Errorf("the index is cut off: %v; the plan says that removed members are there again: %v; %+v", cut, told, actions)
		}
		if content, ok := w.files()[bundlesDir+n.Gone(1)]; !cut {
			g, err := bundle.ParseGone([]byte(content), gone, &again.Info)
			if !ok || err != nil || g.All().GetCardinality() != 1 {
				t.Errorf("%v, %v; %+v", ok, err, g)
			}
			err = r.EachMember(func(n layout.Name, number int64) {
				if number == int64(kept) && !g.Has(have[n]) {
					t.Errorf("%s is not gone", n)
				}
			})
			if err != nil {
				t.Error(err)
			}
		}
		w.opens()
		_, err = check.Run(t.Context(), check.Options{FS: w.home}, func(f check.Finding) {
			if strings.HasPrefix(string(f.Kind), "bundle-") || f.Kind == check.GoneDamaged {
				t.Errorf("%+v", f)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestPlanSaysWhatItCannotDoWithBundles(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		do   func(w *wreck, b []string)
		want Verb
	}{
		{"a copy of what is there", func(w *wreck, b []string) { w.write("lost+found", "#1", w.read("home", b[0])) }, Duplicate},
		{"a damaged copy of what is there", func(w *wreck, b []string) {
			x := w.read("home", b[0])
			x[len(x)-300] ^= 1 // in the index
			w.write("lost+found", "#1", x)
		}, Duplicate},
		{"another content of what is there", func(w *wreck, b []string) {
			x := w.read("home", b[0])
			w.write("lost+found", "#1", x)
			x[len(x)-300] ^= 1
			w.write("home", b[0], x)
		}, Conflict},
		{"later than x.serial", func(w *wreck, b []string) {
			w.write("home", "A/x.serial", []byte{3, 0xF6, 0, 0, 0, 0, 0, 0})
			w.lose(b[0])
		}, Doubtful},
		{"another database", func(w *wreck, b []string) {
			w.lose(b[0])
			w.write("home", "config/identity", []byte("0123456789abcdef0123456789abcdef"))
		}, Doubtful},
		{"nothing that can be read", func(w *wreck, _ []string) { w.write("lost+found", "#1", []byte("\x28\xB5\x2F\xFDnothing")) }, Damaged},
		{"a damaged list", func(w *wreck, _ []string) { w.write("lost+found", "#1", []byte("DSgone\r\n and so on")) }, Damaged},
		{"a list of no bundle", func(w *wreck, b []string) {
			path := w.gone(b[0], 1, 0)
			w.lose(path)
			if err := os.Remove(filepath.Join(w.dir, "home", b[0])); err != nil {
				t.Fatal(err)
			}
		}, Doubtful},
		{"something else", func(w *wreck, _ []string) { w.write("lost+found", "#1", []byte("a letter")) }, Unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w, b := newBundledWreck(t)
			tc.do(w, b)
			before := w.files()
			got, err := Plan(t.Context(), w.lost, w.home, at)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0].Verb != tc.want {
				t.Errorf("plan %+v, want %s", got, tc.want)
			}
			if d := gocmp.Diff(before, w.files()); d != "" {
				t.Errorf("Plan changed A:\n%s", d)
			}
		})
	}
}
