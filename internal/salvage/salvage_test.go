package salvage

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// at is the time of each salvage.
var at = time.Unix(1_700_000_000, 0)

// wreck is a golden home from which files were moved into lost+found.
type wreck struct {
	tb         testing.TB
	dir        string
	home, lost vfs.FS
	moved      int
}

func newWreck(tb testing.TB, name string) *wreck {
	tb.Helper()
	w := &wreck{tb: tb, dir: tb.TempDir()}
	if err := os.Rename(hometest.Unpack(tb, name), filepath.Join(w.dir, "home")); err != nil {
		tb.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(w.dir, "lost+found"), 0o777); err != nil {
		tb.Fatal(err)
	}
	w.home, w.lost = door(tb, filepath.Join(w.dir, "home")), door(tb, filepath.Join(w.dir, "lost+found"))
	return w
}

func door(tb testing.TB, dir string) vfs.FS {
	tb.Helper()
	f, err := vfs.OS(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// lose moves a file into lost+found, and returns its new name.
func (w *wreck) lose(name string) string {
	w.tb.Helper()
	w.moved++
	lost := fmt.Sprintf("#%d", 12345+w.moved)
	if err := os.Rename(filepath.Join(w.dir, "home", name), filepath.Join(w.dir, "lost+found", lost)); err != nil {
		w.tb.Fatal(err)
	}
	return lost
}

func (w *wreck) write(dir, name string, b []byte) {
	w.tb.Helper()
	name = filepath.Join(w.dir, dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		w.tb.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o640); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *wreck) read(dir, name string) []byte {
	w.tb.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, dir, name))
	if err != nil {
		w.tb.Fatal(err)
	}
	return b
}

// files returns the content of each file below A.
func (w *wreck) files() map[string]string {
	w.tb.Helper()
	all := make(map[string]string)
	err := eachFile(w.tb.Context(), w.home, "A", func(name string) error {
		b, err := w.home.ReadFile(name)
		all[name] = string(b)
		return err
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return all
}

func (w *wreck) salvage() []Action {
	w.tb.Helper()
	actions, err := Plan(w.tb.Context(), w.lost, w.home, at)
	if err != nil {
		w.tb.Fatal(err)
	}
	var noted []bool
	err = Apply(w.tb.Context(), w.lost, w.home, actions, at, func(running bool) error { noted = append(noted, running); return nil })
	if err != nil {
		w.tb.Fatal(err)
	}
	if want := slices.ContainsFunc(actions, changes); len(noted) > 0 != want || want && !slices.Equal(noted, []bool{true, false}) {
		w.tb.Errorf("noted %v for %v", noted, actions)
	}
	return actions
}

func (w *wreck) checkIsClean() {
	w.tb.Helper()
	_, err := check.Run(w.tb.Context(), check.Options{FS: w.home}, func(f check.Finding) { w.tb.Errorf("check: %+v", f) })
	if err != nil {
		w.tb.Error(err)
	}
}

func TestLostFilesGetTheirPlacesBack(t *testing.T) {
	t.Parallel()
	// Every third file, then the rest in two more runs: so each file is lost once,
	// also pointers and x files, alone and beside others.
	for _, name := range []string{"bushy", "chunky", "lawn", "flat", "packed", "minimal"} {
		for part := range 3 {
			t.Run(fmt.Sprintf("%s %d", name, part), func(t *testing.T) {
				t.Parallel()
				w := newWreck(t, name)
				before := w.files()
				for i, name := range sortedNames(before) {
					if i%3 == part && !strings.HasSuffix(name, "packed") && !strings.HasSuffix(name, "-deleted") {
						w.lose(name)
					}
				}
				w.salvage()
				if d := cmp.Diff(before, w.files()); d != "" {
					t.Errorf("A after salvage (-before +after):\n%s", d)
				}
				w.checkIsClean()
			})
		}
	}
}

func sortedNames(files map[string]string) []string {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestEverythingLostButSettings(t *testing.T) {
	t.Parallel()
	w := newWreck(t, "lawn")
	before := w.files()
	// The object directories were found whole, as fsck leaves them: with names inside.
	if err := os.Rename(filepath.Join(w.dir, "home/A/o0000000000000000"), filepath.Join(w.dir, "lost+found/#11")); err != nil {
		t.Fatal(err)
	}
	for _, name := range sortedNames(before) {
		if !strings.HasPrefix(name, "A/o0000000000000000/") && name != "A/x/packed" {
			w.lose(name)
		}
	}
	w.salvage()
	if d := cmp.Diff(before, w.files()); d != "" {
		t.Errorf("A after salvage (-before +after):\n%s", d)
	}
}

func TestPlanSaysWhatItCannotDo(t *testing.T) {
	t.Parallel()
	const revision = "A/o0000000000000004/03F6ED1D1AAAAAAA"
	const other = "A/o0000000000000005/03F6ED1D1AAAAAAA"
	changed := func(w *wreck, name string, at int, by byte) []byte {
		b := w.read("home", name)
		b[at] ^= by
		if at >= 56 {
			sum := md5.Sum(b[56:])
			copy(b[40:], sum[:])
		}
		return b
	}
	for _, tc := range []struct {
		name string
		do   func(w *wreck)
		want []Action
	}{
		{"nothing lost", func(*wreck) {}, nil},
		{"a copy of what is there", func(w *wreck) { w.write("lost+found", "#1", w.read("home", revision)) },
			[]Action{{Verb: Duplicate, From: "#1", To: revision}}},
		{"other content than what is there", func(w *wreck) { w.write("lost+found", "#1", changed(w, revision, 80, 1)) },
			[]Action{{Verb: Conflict, From: "#1", To: revision}}},
		{"two claim a place", func(w *wreck) {
			w.write("lost+found", "#1", changed(w, revision, 80, 1))
			w.write("lost+found", "#2", w.read("home", revision))
			w.write("lost+found", "#3", changed(w, revision, 80, 1))
			if err := os.Remove(filepath.Join(w.dir, "home", revision)); err != nil {
				t.Fatal(err)
			}
		}, []Action{{Verb: Place, From: "#1", To: revision}, {Verb: Conflict, From: "#2", To: revision}, {Verb: Duplicate, From: "#3", To: revision}}},
		{"checksum", func(w *wreck) {
			b := w.read("home", revision)
			b[99] ^= 1
			w.write("lost+found", "#1", b)
		}, []Action{{Verb: Damaged, From: "#1"}}},
		{"an oid that its transaction does not list", func(w *wreck) { w.write("lost+found", "#1", changed(w, revision, 15, 0x40)) },
			[]Action{{Verb: Doubtful, From: "#1", To: "A/o0000000000000044/03F6ED1D1AAAAAAA"}}},
		{"later than x.serial", func(w *wreck) {
			b, err := (&record.Transaction{TID: 0x03F6FFFFFFFFFFFF, Previous: 0x03F6ED2545555555}).Append(nil, record.MD5)
			if err != nil {
				t.Fatal(err)
			}
			w.write("lost+found", "sub/#1", b)
		}, []Action{{Verb: Doubtful, From: "sub/#1", To: "A/t03F6FF/FFFFFFFFFF"}}},
		{"something else", func(w *wreck) {
			w.write("lost+found", "#1", []byte("a letter"))
			w.write("lost+found", "#2", nil)
			w.write("lost+found", "#3", []byte(record.ObjectMagic))
		}, []Action{{Verb: Unknown, From: "#1"}, {Verb: Unknown, From: "#2"}, {Verb: Unknown, From: "#3"}}},
		{"pointers only", func(w *wreck) { w.lose("A/o0000000000000004/c") },
			[]Action{{Verb: Make, To: "A/o0000000000000004/c"}, {Verb: Unknown, From: "#12346"}}},
		{"two transactions of objects", func(w *wreck) { w.lose(other); w.lose("A/t03F6ED/1D1AAAAAAA") },
			[]Action{{Verb: Place, From: "#12346", To: other}, {Verb: Place, From: "#12347", To: "A/t03F6ED/1D1AAAAAAA"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWreck(t, "lawn")
			tc.do(w)
			before := w.files()
			got, err := Plan(t.Context(), w.lost, w.home, at)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				got[i].Detail, got[i].Data, got[i].Name = "", nil, layout.Name{}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("plan (-want +got):\n%s", d)
			}
			if d := cmp.Diff(before, w.files()); d != "" {
				t.Errorf("Plan changed A:\n%s", d)
			}
		})
	}
}

func TestBlobsAreToldByTheirContent(t *testing.T) {
	t.Parallel()
	blob := []byte("what the blob holds")
	for kind, sum := range map[string]record.BlobSum{"now": record.SumBlob(blob), "older release": md5.Sum(blob)} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWreck(t, "chunky")
			const revision = "A/o000/000/000/000/0011.03F6ED2545555555"
			o, err := record.ParseObject(w.read("home", revision), revision, true)
			if err != nil {
				t.Fatal(err)
			}
			o.BlobSum = sum
			b, err := o.Append(nil, record.MD5)
			if err != nil {
				t.Fatal(err)
			}
			w.write("home", revision, b)
			w.write("lost+found", "#7", blob)
			w.write("lost+found", "#8", []byte("another blob, of nobody"))
			w.salvage()
			if got := w.read("home", revision+".blob"); string(got) != string(blob) {
				t.Errorf("blob is %q", got)
			}
			w.checkIsClean()
		})
	}
}

// TestLostFilesWithAnotherKindOfChecksum: a lost revision is taken for the one that is there, if they
// differ by the kind of their checksums alone, as where it was unpacked from a bundle.
func TestLostFilesWithAnotherKindOfChecksum(t *testing.T) {
	t.Parallel()
	w := newWreck(t, "flat")
	const name = "A/o0000000000000004.03F6ED1D1AAAAAAA"
	o, err := record.ParseObject(w.read("home", name), name, true)
	if err != nil {
		t.Fatal(err)
	}
	for i, kind := range []record.SumKind{record.MD5, record.XXH64, record.NoSum} {
		b, err := o.Append(nil, kind)
		if err != nil {
			t.Fatal(err)
		}
		w.write("lost+found", fmt.Sprintf("#%d", i), b)
	}
	verbs := func() (list []Verb) {
		actions, err := Plan(t.Context(), w.lost, w.home, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range actions {
			list = append(list, a.Verb)
		}
		return list
	}
	if got := verbs(); !slices.Equal(got, []Verb{Duplicate, Duplicate, Duplicate}) {
		t.Errorf("the revision is there: %v", got)
	}
	if err := os.Remove(filepath.Join(w.dir, "home", name)); err != nil {
		t.Fatal(err)
	}
	if got := verbs(); !slices.Equal(got, []Verb{Place, Duplicate, Duplicate}) {
		t.Errorf("the revision is missing: %v", got)
	}
	w.salvage()
	w.checkIsClean()
}

// TestLostFilesOfBundlesGetTheChecksumOfTheOriginal: records with the kind of bundles, as tar unpacks them,
// come back byte for byte as the Python original wrote them. Those without a checksum stay so.
func TestLostFilesOfBundlesGetTheChecksumOfTheOriginal(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bushy", "chunky", "lawn", "flat", "packed", "minimal"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWreck(t, name)
			before := w.files()
			kinds := make(map[record.SumKind]int)
			for _, name := range sortedNames(before) {
				b := []byte(before[name])
				kind := record.SumKindOf(b)
				if kind == record.NoSum && !strings.HasPrefix(before[name], record.ObjectMagic) || strings.HasSuffix(name, "-deleted") {
					continue
				}
				kinds[kind]++
				w.write("lost+found", w.lose(name), record.WithSum(b, record.XXH64))
			}
			if kinds[record.MD5] == 0 {
				t.Fatalf("kinds of checksums: %v", kinds)
			}
			told := 0
			for _, a := range w.salvage() {
				if strings.Contains(a.Detail, "an MD5 in place of its XXH64") {
					told++
				}
			}
			if told != kinds[record.MD5] {
				t.Errorf("told %d times; kinds of checksums: %v", told, kinds)
			}
			if d := cmp.Diff(before, w.files()); d != "" {
				t.Errorf("A after salvage (-before +after):\n%s", d)
			}
			w.checkIsClean()
		})
	}
}

// TestALostFileThatChangesAfterThePlan: it does not get a checksum that fits its damage.
func TestALostFileThatChangesAfterThePlan(t *testing.T) {
	t.Parallel()
	w := newWreck(t, "flat")
	const name = "A/o0000000000000004.03F6ED1D1AAAAAAA"
	b := record.WithSum(w.read("home", name), record.XXH64)
	lost := w.lose(name)
	w.write("lost+found", lost, b)
	actions, err := Plan(t.Context(), w.lost, w.home, at)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	w.write("lost+found", lost, b)
	err = Apply(t.Context(), w.lost, w.home, actions, at, func(bool) error { return nil })
	if !errors.Is(err, zodb.ErrCorrupt) || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("error %v", err)
	}
	if _, err := w.home.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it has its place: %v", err)
	}
}

func TestApplyNeverReplacesWhatAppearedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWreck(t, "flat")
	const name = "A/o0000000000000004.c"
	w.lose(name)
	actions, err := Plan(t.Context(), w.lost, w.home, at)
	if err != nil {
		t.Fatal(err)
	}
	w.write("home", name, []byte("somebody"))
	if err := Apply(t.Context(), w.lost, w.home, actions, at, func(bool) error { return nil }); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want fs.ErrExist", err)
	}
	if got := w.read("home", name); string(got) != "somebody" {
		t.Errorf("%s was replaced by %q", name, got)
	}
	for e, err := range w.home.List("misc") {
		if err != nil || strings.HasPrefix(e.Name, "salvage-") {
			t.Errorf("left behind: %v %v", e, err)
		}
	}
}

func TestSalvageRefusesWhatHasToBeRecoveredFirst(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"killed_plain", "killed_in_snapshot"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWreck(t, name)
			if _, err := Plan(t.Context(), w.lost, w.home, at); !errors.Is(err, ErrNeedsRecovery) {
				t.Errorf("error %v, want ErrNeedsRecovery", err)
			}
		})
	}
}

func TestPointerIsMadeForTheNewestRevision(t *testing.T) {
	t.Parallel()
	w := newWreck(t, "bushy")
	const dir = "A/o0/00/00/00/00/00/00/004/"
	for _, name := range []string{dir + "c", dir + "03F6ED1D1AAAAAAA"} {
		w.lose(name)
	}
	w.salvage()
	tid, err := record.ParsePointer(w.read("home", dir+"c"), dir+"c", 4)
	if want := zodb.TID(0x03F6ED1D1AAAAAAA); err != nil || tid != want {
		t.Errorf("pointer names %s, %v; want %s, the revision that was placed", tid, err, want)
	}
}
