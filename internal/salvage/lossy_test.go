package salvage

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/bundle"
)

// merged makes one bundle of two of the home that are neighbours, and returns its name and its content.
func (w *wreck) merged(below, above string) (bundle.Name, []byte) {
	w.tb.Helper()
	var sources []bundle.Source
	for _, path := range []string{below, above} {
		b := w.read("home", path)
		r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), path)
		if err != nil {
			w.tb.Fatal(err)
		}
		sources = append(sources, bundle.Source{Reader: r})
	}
	first, last := sources[0].Reader.Info, sources[1].Reader.Info
	n := bundle.Name{Min: first.Min, Max: last.Max}
	var out bytes.Buffer
	_, err := bundle.Merge(w.tb.Context(), &out, bundle.Options{Identity: first.Identity, Min: n.Min, Max: n.Max, Previous: first.Previous, HighestOID: last.HighestOID, FrameSize: 1024}, sources)
	if err != nil {
		w.tb.Fatal(err)
	}
	return n, out.Bytes()
}

// TestLossesAreNamed: of a damaged bundle nothing, or a part, can be put back. The plan says which transactions
// the home lacks, if other bundles do not have them; and no bundle of the home is replaced by a part of one.
func TestLossesAreNamed(t *testing.T) {
	t.Parallel()
	const torn = 50 // bytes, within the first frame
	lose := func(w *wreck, path string, to int) {
		w.lostByName(path, w.read("home", path)[:to])
	}
	for _, tc := range []struct {
		name    string
		do      func(w *wreck, b []string)
		verb    Verb
		missing bool
		detail  func(b []string) string
	}{
		{"one in the midst", func(w *wreck, b []string) { lose(w, b[1], torn) }, Damaged, true, func(b []string) string { return "HOME lacks its transactions from " + rangeOf(b[1]) }},
		{"the first one", func(w *wreck, b []string) { lose(w, b[0], torn) }, Damaged, true, func(b []string) string { return "from " + rangeOf(b[0]) }},
		{"the last one", func(w *wreck, b []string) { lose(w, b[len(b)-1], torn) }, Damaged, true, func(b []string) string { return "from " + rangeOf(b[len(b)-1]) }},
		{"the last one, and x.serial", func(w *wreck, b []string) {
			lose(w, b[len(b)-1], torn)
			w.remove("A/x.serial")
		}, Damaged, true, func(b []string) string { return "from " + rangeOf(b[len(b)-1]) }},
		{"one without its name", func(w *wreck, b []string) {
			w.write("lost+found", "#1", w.read("home", b[1])[:torn])
			w.remove(b[1])
		}, Damaged, true, func(b []string) string { return " to " + strings.Fields(rangeOf(b[1]))[2] }},
		{"one of which only the footer is whole", func(w *wreck, b []string) {
			x := w.read("home", b[1])
			clear(x[:binary.BigEndian.Uint64(x[len(x)-248+104:])])
			copy(x, "\x28\xB5\x2F\xFD")
			w.write("lost+found", "#1", x)
			w.remove(b[1])
		}, Damaged, true, func(b []string) string { return "HOME lacks its transactions from " + rangeOf(b[1]) }},
		{"one whose other copy is damaged, in the home", func(w *wreck, b []string) {
			x := w.read("home", b[1])
			w.write("home", b[1], x[:len(x)-100])
			w.write("lost+found", filepath.Base(b[1]), x[:torn])
		}, Damaged, true, func(b []string) string { return "from " + rangeOf(b[1]) }},
		{"one that was merged of two, of which the second is not there", func(w *wreck, b []string) {
			n, x := w.merged(b[0], b[1])
			w.write("lost+found", n.String(), x[:torn])
			w.remove(b[1])
		}, Damaged, true, func(b []string) string { return " to " + strings.Fields(rangeOf(b[1]))[2] }},
		{"one that was merged of two, which are there", func(w *wreck, b []string) {
			n, x := w.merged(b[0], b[1])
			w.write("lost+found", n.String(), x[:torn])
		}, Damaged, false, func([]string) string { return "other bundles have its transactions" }},
		{"a copy of one that is there", func(w *wreck, b []string) { w.write("lost+found", filepath.Base(b[1]), w.read("home", b[1])[:torn]) },
			Damaged, false, func([]string) string { return "other bundles have its transactions" }},
		{"a copy of one that is there, without its name", func(w *wreck, b []string) { w.write("lost+found", "#1", w.read("home", b[1])[:torn]) },
			Damaged, false, func([]string) string { return "other bundles have its transactions" }},
		{"one behind x.serial", func(w *wreck, b []string) {
			n, _, _ := bundle.ParseName(filepath.Base(b[len(b)-1]))
			w.write("lost+found", bundle.Name{Min: n.Max + 1, Max: n.Max + 9}.String(), w.read("home", b[1])[:torn])
		}, Damaged, false, func([]string) string { return "the log has its transactions" }},
		{"one in A, and those behind it are in B", func(w *wreck, b []string) {
			for _, path := range b[1:] {
				w.write("home", "B/bundles/"+filepath.Base(path), w.read("home", path))
				w.remove(path)
			}
			w.write("lost+found", filepath.Base(b[1]), w.read("home", "B/bundles/"+filepath.Base(b[1]))[:torn])
		}, Damaged, false, func([]string) string { return "other bundles have its transactions" }},
		{"a frame of one", func(w *wreck, b []string) {
			x := w.read("home", b[1])
			x[40] ^= 1
			w.lostByName(b[1], x)
		}, Make, true, func([]string) string { return "the content of its damaged pieces is lost" }},
		{"the end of the tar in one", func(w *wreck, b []string) {
			x := w.read("home", b[1])
			x[binary.BigEndian.Uint64(x[len(x)-248+104:])-3] ^= 1
			w.lostByName(b[1], x)
		}, Make, false, func([]string) string { return "made again of" }},
		{"a frame of a copy of one that is there", func(w *wreck, b []string) {
			x := w.read("home", b[1])
			x[40] ^= 1
			w.write("lost+found", filepath.Base(b[1]), x)
		}, Doubtful, false, func([]string) string { return "would replace" }},
		{"a frame of one that was merged of two, which are there", func(w *wreck, b []string) {
			n, x := w.merged(b[0], b[1])
			x[40] ^= 1
			w.write("lost+found", n.String(), x)
		}, Doubtful, false, func([]string) string { return "would replace" }},
		{"a frame of one that was merged of two, of which the first is there", func(w *wreck, b []string) {
			n, x := w.merged(b[0], b[1])
			x[40] ^= 1
			w.write("lost+found", n.String(), x)
			w.remove(b[1])
		}, Doubtful, true, func(b []string) string { return " to " + strings.Fields(rangeOf(b[1]))[2] }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w, b := newBundledWreck(t)
			tc.do(w, b)
			before := w.files()
			actions := w.salvage()
			i := slices.IndexFunc(actions, func(a Action) bool { return a.From != "" })
			if i < 0 {
				t.Fatalf("%+v", actions)
			}
			if a := actions[i]; a.Verb != tc.verb || a.Missing != tc.missing || !strings.Contains(a.Detail, tc.detail(b)) {
				t.Errorf("%+v, want %s with “%s”, missing %t", a, tc.verb, tc.detail(b), tc.missing)
			}
			for name, content := range before {
				if w.files()[name] != content {
					t.Errorf("%s was changed", name)
				}
			}
			if tc.verb != Doubtful {
				return
			}
			w.opens()
			for name, content := range before {
				if w.files()[name] != content {
					t.Errorf("after an open %s is not as it was", name)
				}
			}
		})
	}
}

// rangeOf returns the range of a bundle as a loss names it.
func rangeOf(path string) string {
	n, _, _ := bundle.ParseName(filepath.Base(path))
	return n.Min.String() + " to " + n.Max.String()
}

// TestASoundBundleThatOverlapsIsNotPassedOverWhereItIsMissed: it is not put back, and no other has all that it has.
func TestASoundBundleThatOverlapsIsNotPassedOverWhereItIsMissed(t *testing.T) {
	t.Parallel()
	w, b := newBundledWreck(t)
	n, x := w.merged(b[0], b[1])
	_, y := w.merged(b[1], b[2])
	w.write("lost+found", "#1", y)
	for _, path := range b[:3] {
		w.remove(path)
	}
	w.write("home", bundlesDir+n.String(), x)
	actions := w.salvage()
	if len(actions) != 1 || actions[0].Verb != Conflict || !actions[0].Missing || !strings.Contains(actions[0].Detail, " to "+strings.Fields(rangeOf(b[2]))[2]) {
		t.Errorf("%+v, want a conflict that names the end of %s", actions, rangeOf(b[2]))
	}
}
