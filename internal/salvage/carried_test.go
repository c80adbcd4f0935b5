package salvage

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
)

// carrying puts the next generation of a bundle in its place, which carries a list of one member. It
// returns its path, and the name of the member.
func (w *wreck) carrying(path string, member uint32) (to string, gone layout.Name) {
	w.tb.Helper()
	b := w.read("home", path)
	r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), path)
	if err != nil {
		w.tb.Fatal(err)
	}
	if err := r.EachMember(func(n layout.Name, number int64) {
		if number == int64(member) {
			gone = n
		}
	}); err != nil {
		w.tb.Fatal(err)
	}
	n := nameOf(&r.Info)
	n.Generation++
	var out bytes.Buffer
	_, err = bundle.Merge(w.tb.Context(), &out, bundle.Options{Identity: r.Identity, Min: n.Min, Max: n.Max, Generation: n.Generation, Previous: r.Previous, HighestOID: r.HighestOID, FrameSize: 1024},
		[]bundle.Source{{Reader: r, Gone: (*bundle.Gone)(nil).With(r.Sum, 99, roaring.BitmapOf(member))}})
	if err != nil {
		w.tb.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, "home", path)); err != nil {
		w.tb.Fatal(err)
	}
	to = bundlesDir + n.String()
	w.write("home", to, out.Bytes())
	return to, gone
}

// goneOf returns the members of a bundle in the home that are gone, by the list that it carries or that lies beside
// it as the first one.
func (w *wreck) goneOf(path string) (gone []layout.Name, members int64) {
	w.tb.Helper()
	b := w.read("home", path)
	r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), path)
	if err == nil {
		err = r.Verify()
	}
	if err != nil {
		w.tb.Fatal(err)
	}
	g := r.Carried()
	if content, ok := w.files()[bundlesDir+nameOf(&r.Info).Gone(1)]; ok {
		if g, err = bundle.ParseGone([]byte(content), path, &r.Info); err != nil {
			w.tb.Fatal(err)
		}
	}
	if err := r.EachMember(func(n layout.Name, number int64) {
		if g.Has(number) {
			gone = append(gone, n)
		}
	}); err != nil {
		w.tb.Fatal(err)
	}
	return gone, r.Revisions + r.Transactions
}

// TestBundlesThatCarryListsAreSalvaged: where the index, the footer or a frame is damaged, what is gone is gone
// afterwards; where the list itself is, the plan says that it is there again.
func TestBundlesThatCarryListsAreSalvaged(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(b []byte, r *bundle.Reader) []byte
		same   bool // it comes back as it was, byte for byte
		gone   bool // what is gone stays so
		lost   bool // some members are
	}{
		{"the name", func(b []byte, _ *bundle.Reader) []byte { return b }, true, true, false},
		{"the index", func(b []byte, r *bundle.Reader) []byte {
			b[len(b)-bundle.FooterSize-200] ^= 1
			return b
		}, true, true, false},
		{"the footer", func(b []byte, _ *bundle.Reader) []byte {
			b[len(b)-100] ^= 1
			return b
		}, true, true, false},
		{"the list", func(b []byte, _ *bundle.Reader) []byte {
			b[len(b)-bundle.FooterSize-5] ^= 1
			return b
		}, false, false, false},
		{"a frame and the footer", func(b []byte, r *bundle.Reader) []byte {
			f, err := r.Frame(uint32(r.Frames - 1))
			if err != nil {
				t.Error(err)
			}
			b[f.Offset+f.Size/2] ^= 1
			b[len(b)-100] ^= 1
			return b
		}, false, false, true},
		{"the end", func(b []byte, _ *bundle.Reader) []byte { return b[:len(b)-bundle.FooterSize-20] }, false, false, false},
		{"a frame", func(b []byte, r *bundle.Reader) []byte {
			f, err := r.Frame(uint32(r.Frames - 1))
			if err != nil {
				t.Error(err)
			}
			b[f.Offset+f.Size/2] ^= 1
			return b
		}, false, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w, bundles := newBundledWreck(t)
			path, gone := w.carrying(bundles[0], 0)
			before := w.read("home", path)
			r, err := bundle.Open(bytes.NewReader(before), int64(len(before)), path)
			if err != nil {
				t.Fatal(err)
			}
			if gone.Kind != layout.KindRevision || r.Frames < 2 {
				t.Fatalf("%s, %d frames", gone, r.Frames)
			}
			lost := w.lose(path)
			if tc.name != "the name" && tc.name != "the list" && tc.name != "a frame" {
				// Its name is known.
				if err := os.Remove(filepath.Join(w.dir, "lost+found", lost)); err != nil {
					t.Fatal(err)
				}
				lost = filepath.Base(path)
			}
			w.write("lost+found", lost, tc.damage(slices.Clone(before), r))
			actions := w.salvage()
			to := path
			if !tc.same && tc.name != "the end" {
				n, _, _ := bundle.ParseName(filepath.Base(path))
				n.Generation++
				to = bundlesDir + n.String()
			}
			if _, ok := w.files()[to]; !ok {
				t.Fatalf("%s is not there: %+v", to, actions)
			}
			if same := bytes.Equal(w.read("home", to), before); same != tc.same {
				t.Errorf("the bytes are the same: %t; %+v", same, actions)
			}
			is, members := w.goneOf(to)
			if want := []layout.Name{gone}; tc.gone && !slices.Equal(is, want) || !tc.gone && len(is) > 0 {
				t.Errorf("gone are %v, were %v", is, want)
			}
			if all := r.Revisions + r.Transactions; (members < all) != tc.lost {
				t.Errorf("%d of %d members are there", members, all)
			}
			told := slices.ContainsFunc(actions, func(a Action) bool { return strings.Contains(a.Detail, "there again") })
			if told == tc.gone {
				t.Errorf("the plan says that something is there again: %t; %+v", told, actions)
			}
			w.opens()
		})
	}
}
