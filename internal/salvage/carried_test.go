package salvage

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/current"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
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

// TestBundlesThatCarryListsAreSalvaged: where the index, the footer or a frame is damaged, gone members are gone
// afterwards; where the list itself is, the plan says that it is there again.
func TestBundlesThatCarryListsAreSalvaged(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(b []byte, r *bundle.Reader) []byte
		same   bool // it comes back as it was, byte for byte
		gone   bool // gone members stay so
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
			if !tc.same {
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

// tabled opens the home for writing, which makes the table of current revisions, and closes it.
func (w *wreck) tabled() {
	w.tb.Helper()
	s, err := bundled.New(bundled.Options{FS: w.home, Identity: w.identity(), Clock: time.Now})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		w.tb.Fatal(err)
	}
	if _, err := w.home.Stat(current.Name); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *wreck) identity() (id [16]byte) {
	w.tb.Helper()
	b, err := hex.DecodeString(string(w.read("home", "config/identity"))[:32])
	if err != nil {
		w.tb.Fatal(err)
	}
	copy(id[:], b)
	return id
}

// TestTheListOfABundleWhoseEndIsCutOff comes from a list beside it, or as far as the table of current revisions
// knows it. Where one of these shows that there was none, the bundle comes back as it was.
func TestTheListOfABundleWhoseEndIsCutOff(t *testing.T) {
	t.Parallel()
	type state struct {
		w            *wreck
		path         string
		member, more layout.Name
	}
	for _, tc := range []struct {
		name    string
		carries bool
		first   func(s *state)
		exact   bool
		// gone are the members that are gone afterwards, and stamp says since when.
		gone  func(s *state) []layout.Name
		stamp int64
		told  string
	}{
		{"nothing knows", true, func(*state) {}, false, nil, 0, "if there was one, these are there again"},
		{"nothing knows, and it carried none", false, func(*state) {}, false, nil, 0, "if there was one, these are there again"},
		{"a table", true, func(s *state) { s.w.tabled() }, false, func(s *state) []layout.Name { return []layout.Name{s.member} }, at.Unix(), "from misc/current"},
		{"a table, and it carried none", false, func(s *state) { s.w.tabled() }, true, nil, 0, ""},
		{"a damaged table", true, func(s *state) {
			s.w.tabled()
			b := s.w.read("home", current.Name)
			for i := 512; i < len(b); i++ {
				b[i] ^= 0x55
			}
			s.w.write("home", current.Name, b)
		}, false, nil, 0, "if there was one, these are there again"},
		{"a table of another database", true, func(s *state) {
			s.w.tabled()
			b := s.w.read("home", current.Name)
			for i := range min(4096, len(b)) {
				b[i] ^= 0x55
			}
			s.w.write("home", current.Name, b)
		}, false, nil, 0, "if there was one, these are there again"},
		{"a list beside it", true, func(s *state) { s.w.gone(s.path, 1, 1) }, false, func(s *state) []layout.Name { return []layout.Name{s.more} }, 99, ""},
		{"a list beside it, and it carried none", false, func(s *state) { s.w.gone(s.path, 1, 1) }, true, func(s *state) []layout.Name { return []layout.Name{s.more} }, 99, ""},
		{"a damaged list beside it, and a table", true, func(s *state) {
			s.w.gone(s.path, 1, 1)
			s.w.tabled()
			n, _, _ := bundle.ParseName(filepath.Base(s.path))
			b := s.w.read("home", bundlesDir+n.Gone(1))
			b[50] ^= 1
			s.w.write("home", bundlesDir+n.Gone(1), b)
		}, false, func(s *state) []layout.Name { return []layout.Name{s.more} }, at.Unix(), "from misc/current"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w, bundles := newBundledWreck(t)
			s := &state{w: w, path: bundles[len(bundles)-1]}
			s.member, s.more = w.nameOfMember(s.path, 0), w.nameOfMember(s.path, 1)
			if tc.carries {
				s.path, _ = w.carrying(s.path, 0)
			}
			tc.first(s)
			before := w.read("home", s.path)
			if err := os.Rename(filepath.Join(w.dir, "home", s.path), filepath.Join(w.dir, "lost+found", filepath.Base(s.path))); err != nil {
				t.Fatal(err)
			}
			w.write("lost+found", filepath.Base(s.path), before[:len(before)-bundle.FooterSize-20])
			actions := w.salvage()
			to, list := s.path, uint64(1)
			n, _, _ := bundle.ParseName(filepath.Base(s.path))
			if !tc.exact {
				n.Generation++
				to = bundlesDir + n.String()
			}
			if same := bytes.Equal(w.read("home", to), before); same != tc.exact {
				t.Errorf("the bytes are the same: %t; %+v", same, actions)
			}
			is, members := w.goneOf(to)
			var want []layout.Name
			if tc.gone != nil {
				want = tc.gone(s)
				content := w.read("home", bundlesDir+n.Gone(list))
				g, err := bundle.ParseGone(content, "", w.infoOf(to))
				if err != nil || len(g.Sets) != 1 || g.Sets[0].Stamp != tc.stamp {
					t.Errorf("the list is %+v, %v; want one set of %d", g, err, tc.stamp)
				}
			}
			if !slices.Equal(is, want) {
				t.Errorf("gone are %v, want %v; %+v", is, want, actions)
			}
			if all := w.infoOf(to); members != all.Revisions+all.Transactions {
				t.Errorf("%d of %d members are there", members, all.Revisions+all.Transactions)
			}
			returned := slices.ContainsFunc(actions, func(a Action) bool { return a.Returned })
			told := slices.ContainsFunc(actions, func(a Action) bool { return tc.told != "" && strings.Contains(a.Detail, tc.told) })
			if told != (tc.told != "") || returned != strings.Contains(tc.told, "there again") {
				t.Errorf("the plan says “%s”: %t; that something returned: %t; %+v", tc.told, told, returned, actions)
			}
			w.opens()
		})
	}
}

func (w *wreck) infoOf(path string) *bundle.Info {
	w.tb.Helper()
	b := w.read("home", path)
	r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), path)
	if err != nil {
		w.tb.Fatal(err)
	}
	return &r.Info
}

func (w *wreck) nameOfMember(path string, number int64) (name layout.Name) {
	w.tb.Helper()
	b := w.read("home", path)
	r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), path)
	if err == nil {
		err = r.EachMember(func(n layout.Name, at int64) {
			if at == number {
				name = n
			}
		})
	}
	if err != nil {
		w.tb.Fatal(err)
	}
	return name
}

// TestAWholeCopyAmongTheLostFilesCounts: not the damaged one, in any order in which they are found.
func TestAWholeCopyAmongTheLostFilesCounts(t *testing.T) {
	t.Parallel()
	for _, names := range [][2]string{{"a", "b"}, {"b", "a"}} {
		w, bundles := newBundledWreck(t)
		path, gone := w.carrying(bundles[0], 0)
		before := w.read("home", path)
		if err := os.Remove(filepath.Join(w.dir, "home", path)); err != nil {
			t.Fatal(err)
		}
		w.write("lost+found", names[0]+"/whole", before)
		cut := slices.Clone(before)
		cut[40] ^= 1
		w.write("lost+found", names[1]+"/"+filepath.Base(path), cut)
		actions := w.salvage()
		if !bytes.Equal(w.read("home", path), before) {
			t.Errorf("it is another one: %+v", actions)
		}
		if is, _ := w.goneOf(path); !slices.Equal(is, []layout.Name{gone}) {
			t.Errorf("gone are %v, want %s", is, gone)
		}
		n, _, _ := bundle.ParseName(filepath.Base(path))
		n.Generation++
		if _, ok := w.files()[bundlesDir+n.String()]; ok {
			t.Errorf("%s was made: %+v", n, actions)
		}
	}
}

// TestAListOfAnEarlierGenerationIsNotTakenForALaterOne: overlaid backups have both. Where a bundle has lost its
// name and its end, its generation is not known, and the numbers in a list of another one are those of others.
func TestAListOfAnEarlierGenerationIsNotTakenForALaterOne(t *testing.T) {
	t.Parallel()
	w, bundles := newBundledWreck(t)
	path := bundles[len(bundles)-1]
	w.gone(path, 1, 1)
	earlier := w.read("home", path)
	r, err := bundle.Open(bytes.NewReader(earlier), int64(len(earlier)), path)
	if err != nil {
		t.Fatal(err)
	}
	n := nameOf(&r.Info)
	n.Generation++
	var out bytes.Buffer
	o := bundle.Options{Identity: r.Identity, Min: n.Min, Max: n.Max, Generation: n.Generation, Previous: r.Previous, HighestOID: r.HighestOID, FrameSize: 1024}
	if _, err := bundle.Merge(t.Context(), &out, o, []bundle.Source{{Reader: r, Drop: func(number int64) bool { return number == 0 }}}); err != nil {
		t.Fatal(err)
	}
	w.write("lost+found", "#1234", out.Bytes()[:out.Len()-bundle.FooterSize-20])
	actions := w.salvage()
	to := bundlesDir + n.String()
	if _, ok := w.files()[to]; !ok {
		t.Fatalf("it was not placed: %+v", actions)
	}
	if gone, members := w.goneOf(to); len(gone) != 0 || members != r.Revisions+r.Transactions-1 {
		t.Errorf("gone are %v of %d members; want none: %+v", gone, members, actions)
	}
	if !slices.ContainsFunc(actions, func(a Action) bool { return a.Returned }) {
		t.Errorf("nothing says that its list is not known: %+v", actions)
	}
	w.opens()
}
