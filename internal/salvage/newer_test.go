package salvage

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/bundle"
)

// newerBundleOf makes of the bytes of a bundle those of one of a newer release.
func newerBundleOf(b []byte) []byte {
	b = slices.Clone(b)
	footer := b[len(b)-bundle.FooterSize+8:]
	binary.BigEndian.PutUint32(footer[8:], 9)
	return withSum(b, footer[:len(footer)-12], footer[len(footer)-12:])
}

// newerListOf makes of the bytes of a list those of one of a newer release.
func newerListOf(b []byte) []byte {
	b = slices.Clone(b)
	binary.BigEndian.PutUint32(b[8:], 9)
	return withSum(b, b[:len(b)-4], b[len(b)-4:])
}

// newerCarriedOf makes of the bytes of a bundle that carries a list one whose list is of a newer release.
func newerCarriedOf(b []byte) []byte {
	b = slices.Clone(b)
	end := len(b) - bundle.FooterSize
	list := b[bytes.LastIndex(b[:end], []byte("DSgone\r\n")):end]
	copy(list, newerListOf(list))
	return b
}

func withSum(b, of, to []byte) []byte {
	binary.BigEndian.PutUint32(to, crc32.Checksum(of, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// remove removes a file of the home.
func (w *wreck) remove(path string) {
	w.tb.Helper()
	if err := os.Remove(filepath.Join(w.dir, "home", path)); err != nil {
		w.tb.Fatal(err)
	}
}

// lostByName moves a file into lost+found with its name, with another content.
func (w *wreck) lostByName(path string, content []byte) string {
	w.tb.Helper()
	w.remove(path)
	w.write("lost+found", filepath.Base(path), content)
	return filepath.Base(path)
}

// TestFilesOfANewerReleaseStopNoSalvage: there is one such file, lost or in the home. Another bundle, that has
// nothing to do with it, is placed; members that the newer one may have replaced or removed are not.
func TestFilesOfANewerReleaseStopNoSalvage(t *testing.T) {
	t.Parallel()
	cut := func(b []byte) []byte { return b[:len(b)-bundle.FooterSize-20] }
	next := func(path string, generation uint64) string {
		n, _, _ := bundle.ParseName(filepath.Base(path))
		n.Generation += generation
		return bundlesDir + n.String()
	}
	for _, tc := range []struct {
		name string
		do   func(w *wreck, path string)
		want map[Verb]string // a part of one action each, beside those of the other bundle
		back func(path string) []string
		not  func(path string) []string
		told bool // that removed members may be there again
	}{
		{"a lost list", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			w.lostByName(list, newerListOf(w.read("home", list)))
		}, map[Verb]string{Newer: "may be there again"}, nil, nil, true},
		{"a lost list without its name, and one that is whole", func(w *wreck, path string) {
			list := w.gone(path, 2, 0)
			w.write("lost+found", "#1", newerListOf(w.read("home", list)))
			w.lostByName(list, w.read("home", list))
		}, map[Verb]string{Newer: "may be there again", Doubtful: "#1, of a newer release"}, nil, nil, true},
		{"a lost list, and one before it that is whole", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			later := w.gone(path, 2, 0)
			w.lostByName(later, newerListOf(w.read("home", later)))
			w.lostByName(list, w.read("home", list))
		}, map[Verb]string{Newer: "may be there again", Doubtful: "of a newer release"}, nil, nil, true},
		{"a lost list, and one behind it that is whole", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			later := w.gone(path, 2, 0)
			w.lostByName(list, newerListOf(w.read("home", list)))
			w.lostByName(later, w.read("home", later))
		}, map[Verb]string{Newer: "", Place: ".2.gone"}, nil, nil, true},
		{"a list in the home", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			w.write("home", list, newerListOf(w.read("home", list)))
		}, map[Verb]string{Newer: ".1.gone"}, nil, nil, false},
		{"a list in the home, of a bundle whose name is lost", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			w.write("home", list, newerListOf(w.read("home", list)))
			w.lose(path)
		}, map[Verb]string{Place: ""}, func(path string) []string { return []string{path} }, nil, false},
		{"a list in the home, of a bundle with a damaged footer", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			w.write("home", list, newerListOf(w.read("home", list)))
			b := w.read("home", path)
			b[len(b)-100] ^= 1
			w.lostByName(path, b)
		}, map[Verb]string{Make: ""}, func(path string) []string { return []string{path} }, nil, false},
		{"a list in the home, of a bundle with its end cut off", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			b := newerListOf(w.read("home", list))
			b[20] ^= 1 // the sum is elsewhere in that release
			w.write("home", list, withSum(b, b[:len(b)-4], b[len(b)-4:]))
			w.lostByName(path, cut(w.read("home", path)))
		}, map[Verb]string{Newer: "only a newer release knows"}, nil, func(path string) []string { return []string{path, next(path, 1)} }, false},
		{"a lost list of a bundle with a damaged frame", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			w.lostByName(list, newerListOf(w.read("home", list)))
			b := w.read("home", path)
			b[40] ^= 1
			w.lostByName(path, b)
		}, map[Verb]string{Newer: ""}, nil, func(path string) []string { return []string{path, next(path, 1)} }, true},
		{"a lost bundle", func(w *wreck, path string) {
			w.lostByName(path, newerBundleOf(w.read("home", path)))
		}, map[Verb]string{Newer: "its transactions are missing"}, nil, func(path string) []string { return []string{path} }, false},
		{"a lost bundle without its name", func(w *wreck, path string) {
			w.write("home", path, newerBundleOf(w.read("home", path)))
			w.lose(path)
		}, map[Verb]string{Newer: "its name is lost"}, nil, func(path string) []string { return []string{path} }, false},
		{"a lost bundle, and the one that it replaced", func(w *wreck, path string) {
			w.write("lost+found", filepath.Base(next(path, 1)), newerBundleOf(w.read("home", path)))
			w.lose(path)
		}, map[Verb]string{Newer: "", Doubtful: "a newer release wrote"}, nil, func(path string) []string { return []string{path, next(path, 1)} }, false},
		{"a bundle in the home, and a damaged one of its name", func(w *wreck, path string) {
			b := w.read("home", path)
			w.write("home", path, newerBundleOf(b))
			b[40] ^= 1
			w.write("lost+found", filepath.Base(path), b)
		}, map[Verb]string{Newer: "", Doubtful: "a newer release wrote"}, nil, func(path string) []string { return []string{next(path, 1)} }, false},
		{"a lost bundle that carries a list, with a damaged footer", func(w *wreck, path string) {
			to, _ := w.carrying(path, 0)
			b := newerCarriedOf(w.read("home", to))
			b[len(b)-100] ^= 1
			w.lostByName(to, b)
		}, map[Verb]string{Newer: "its transactions are missing"}, nil, func(path string) []string { return []string{next(path, 1), next(path, 2)} }, false},
		{"a lost bundle that carries a list, with a damaged frame and its end cut off, and the one that it replaced", func(w *wreck, path string) {
			before := w.read("home", path)
			to, _ := w.carrying(path, 0)
			b := newerCarriedOf(w.read("home", to))
			b[40] ^= 1
			w.lostByName(to, b[:len(b)-20])
			w.write("lost+found", filepath.Base(path), before)
		}, map[Verb]string{Newer: "", Doubtful: "a newer release wrote"}, nil, func(path string) []string { return []string{path, next(path, 1), next(path, 2)} }, false},
		{"a bundle in the home that carries a list, with a damaged footer, and the one that it replaced", func(w *wreck, path string) {
			before := w.read("home", path)
			to, _ := w.carrying(path, 0)
			b := newerCarriedOf(w.read("home", to))
			b[len(b)-100] ^= 1
			w.write("home", to, b)
			w.write("lost+found", filepath.Base(path), before)
		}, map[Verb]string{Newer: "", Doubtful: "a newer release wrote"}, nil, func(path string) []string { return []string{path} }, false},
		{"a bundle in the home, and no x files", func(w *wreck, path string) {
			w.write("home", path, newerBundleOf(w.read("home", path)))
			w.remove("A/x.oid")
			w.remove("A/x.serial")
		}, map[Verb]string{Newer: ""}, nil, func(string) []string { return []string{"A/x.oid", "A/x.serial"} }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w, bundles := newBundledWreck(t)
			other := w.read("home", bundles[2])
			w.lose(bundles[2])
			tc.do(w, bundles[1])
			before := w.files()
			actions := w.salvage()
			after := w.files()
			if after[bundles[2]] != string(other) {
				t.Errorf("the other bundle is not in its place: %+v", actions)
			}
			for name, content := range before {
				if after[name] != content {
					t.Errorf("%s is another one", name)
				}
			}
			for verb, part := range tc.want {
				if !slices.ContainsFunc(actions, func(a Action) bool { return a.Verb == verb && strings.Contains(a.To+a.Detail, part) }) {
					t.Errorf("no %s “%s”: %+v", verb, part, actions)
				}
			}
			if tc.back != nil {
				for _, name := range tc.back(bundles[1]) {
					if _, ok := after[name]; !ok {
						t.Errorf("%s is not there: %+v", name, actions)
					}
				}
			}
			if tc.not != nil {
				for _, name := range tc.not(bundles[1]) {
					if _, ok := after[name]; ok {
						t.Errorf("%s is there: %+v", name, actions)
					}
				}
			}
			if told := slices.ContainsFunc(actions, func(a Action) bool { return a.Returned }); told != tc.told {
				t.Errorf("it says that removed members may be there again: %t; %+v", told, actions)
			}
			again := w.salvage()
			if slices.ContainsFunc(again, func(a Action) bool { return a.Verb == Place || a.Verb == Make && a.From == "" }) {
				t.Errorf("the second time: %+v", again)
			}
			if d := gocmp.Diff(after, w.files()); d != "" {
				t.Errorf("the second time (-before +after):\n%s", d)
			}
		})
	}
}

// TestRemovalsThatTheTableDoesNotKnowAreSaid: the table of current revisions is from before the last list of
// a bundle, or from after it. Each member that is there again is told, and none is removed that was brought back.
func TestRemovalsThatTheTableDoesNotKnowAreSaid(t *testing.T) {
	t.Parallel()
	flip := func(w *wreck, path string, at int) {
		b := w.read("home", path)
		b[(at+len(b))%len(b)] ^= 1
		w.write("home", path, b)
	}
	cut := func(w *wreck, path string) {
		b := w.read("home", path)
		w.lostByName(path, b[:len(b)-bundle.FooterSize-20])
	}
	for _, tc := range []struct {
		name string
		do   func(w *wreck, path string)
		gone int  // members of the bundle, or of the one that is made of it
		told bool // that removed members may be there again
	}{
		{"a damaged list of a bundle that is there", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			flip(w, list, 50)
			w.lostByName(list, w.read("home", list))
		}, 0, true},
		{"a damaged list without its name", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			flip(w, list, 50)
			w.lose(list)
		}, 0, true},
		{"a damaged list that does not count", func(w *wreck, path string) {
			first := w.gone(path, 1, 0)
			flip(w, first, 50)
			w.gone(path, 2, 1)
			w.lostByName(first, w.read("home", first))
		}, 1, false},
		{"the end, a damaged list, and an up-to-date table", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			w.tabled()
			flip(w, list, 50)
			cut(w, path)
		}, 1, false},
		{"the end, a damaged list, and a table of the list before", func(w *wreck, path string) {
			first := w.gone(path, 1, 0)
			w.tabled()
			w.remove(first)
			flip(w, w.gone(path, 2, 1), 50)
			cut(w, path)
		}, 0, true},
		{"the end, a damaged list, and a table from before it", func(w *wreck, path string) {
			w.tabled()
			flip(w, w.gone(path, 1, 1), 50)
			cut(w, path)
		}, 0, true},
		{"the end, and a list that only the table knows", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			w.tabled()
			w.remove(list)
			cut(w, path)
		}, 1, false},
		{"a frame, and a list that only the table knows", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			w.tabled()
			w.remove(list)
			flip(w, path, 40)
			w.lostByName(path, w.read("home", path))
		}, 0, true},
		{"a frame, a list, and a later one that only the table knows", func(w *wreck, path string) {
			later := w.gone(path, 2, 0)
			w.tabled()
			w.remove(later)
			w.gone(path, 1, 0)
			flip(w, path, 40)
			w.lostByName(path, w.read("home", path))
		}, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w, bundles := newBundledWreck(t)
			path := bundles[len(bundles)-1] // has the newest revisions, which are those that the table knows
			tc.do(w, path)
			actions := w.salvage()
			n, _, _ := bundle.ParseName(filepath.Base(path))
			if _, ok := w.files()[path]; !ok {
				n.Generation++
			}
			gone := 0
			for number := uint64(2); number > 0 && gone == 0; number-- {
				if content, ok := w.files()[bundlesDir+n.Gone(number)]; ok {
					g, err := bundle.ParseGone([]byte(content), "", w.infoOf(bundlesDir+n.String()))
					if err != nil {
						t.Fatal(err)
					}
					gone = int(g.All().GetCardinality())
				}
			}
			if gone != tc.gone {
				t.Errorf("%d members are gone, want %d: %+v", gone, tc.gone, actions)
			}
			if told := slices.ContainsFunc(actions, func(a Action) bool { return a.Returned }); told != tc.told {
				t.Errorf("it says that removed members may be there again: %t; %+v", told, actions)
			}
			w.opens()
		})
	}
}

// TestTheLostListOfADamagedBundleIsCarriedOver: both are among the lost files.
func TestTheLostListOfADamagedBundleIsCarriedOver(t *testing.T) {
	t.Parallel()
	for _, named := range []bool{true, false} {
		w, bundles := newBundledWreck(t)
		path := bundles[2]
		member := w.nameOfMember(path, 1)
		list := w.gone(path, 3, 1)
		if named {
			w.lostByName(list, w.read("home", list))
		} else {
			w.lose(list)
		}
		b := w.read("home", path)
		b[40] ^= 1
		w.lostByName(path, b)
		actions := w.salvage()
		n, _, _ := bundle.ParseName(filepath.Base(path))
		n.Generation++
		if gone, _ := w.goneOf(bundlesDir + n.String()); len(gone) != 1 || gone[0] != member {
			t.Errorf("gone are %v, want %s: %+v", gone, member, actions)
		}
		if slices.ContainsFunc(actions, func(a Action) bool { return a.Verb == Doubtful || a.Returned }) {
			t.Errorf("the list is carried over: %+v", actions)
		}
		w.opens()
	}
}

// TestDamageMakesNoFileANewerOne: the version of a footer, of a list beside a bundle, and of one that it carries are
// damaged. The bundles are put back, as if other bytes were damaged.
func TestDamageMakesNoFileANewerOne(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		do   func(w *wreck, path string)
		want map[Verb]string
		told bool
	}{
		{"a footer", func(w *wreck, path string) {
			b := w.read("home", path)
			b[len(b)-bundle.FooterSize+8+11] = 9
			w.lostByName(path, b)
		}, map[Verb]string{Make: "made again"}, false},
		{"a list", func(w *wreck, path string) {
			list := w.gone(path, 1, 0)
			b := w.read("home", list)
			b[11] = 9
			w.lostByName(list, b)
			w.lose(path)
		}, map[Verb]string{Place: "", Damaged: "checksum"}, true},
		{"a carried list, and the footer", func(w *wreck, path string) {
			to, _ := w.carrying(path, 0)
			b := w.read("home", to)
			b[bytes.LastIndex(b, []byte("DSgone\r\n"))+11] = 9
			b[len(b)-100] ^= 1
			w.lostByName(to, b)
		}, map[Verb]string{Make: "made again", Doubtful: "there again"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w, bundles := newBundledWreck(t)
			tc.do(w, bundles[1])
			actions := w.salvage()
			for verb, part := range tc.want {
				if !slices.ContainsFunc(actions, func(a Action) bool { return a.Verb == verb && strings.Contains(a.Detail, part) }) {
					t.Errorf("no %s “%s”: %+v", verb, part, actions)
				}
			}
			if slices.ContainsFunc(actions, func(a Action) bool { return a.Verb == Newer || a.Missing }) {
				t.Errorf("%+v", actions)
			}
			if told := slices.ContainsFunc(actions, func(a Action) bool { return a.Returned }); told != tc.told {
				t.Errorf("it says that removed members may be there again: %t; %+v", told, actions)
			}
			w.opens()
		})
	}
}
