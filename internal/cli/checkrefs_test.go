package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/refindex"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// isIndexOfRefs compares the index that check writes with that of refs
// --write-index, which have to end with these statuses.
func (h *packHome) isIndexOfRefs(what string, check, refs int) refindex.Stats {
	h.t.Helper()
	name := filepath.Join(h.home, "misc", "refs")
	h.must(check, "check", "--refs", "HOME")
	got, err := os.ReadFile(name)
	if err == nil {
		err = os.Remove(name)
	}
	if err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
	h.must(refs, "refs", "--write-index", "HOME")
	want, err := os.ReadFile(name)
	if err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
	if !bytes.Equal(got, want) {
		h.t.Errorf("%s: check writes another index than refs", what)
	}
	h.noIndexBegun()
	var said indexWritten
	stdout, _ := h.must(check, "check", "--refs", "--json", "HOME")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &struct{ Refs *indexWritten }{&said}); err != nil || said.References == 0 || said.TID == 0 {
		h.t.Errorf("%s: %v, it says\n%s", what, err, stdout)
	}
	return said.Stats
}

// noIndexBegun looks for the leftovers of a writer that does not end.
func (h *packHome) noIndexBegun() {
	h.t.Helper()
	for _, name := range []string{"refs.tmp", "refs.new"} {
		if _, err := os.Stat(filepath.Join(h.home, "misc", name)); !errors.Is(err, fs.ErrNotExist) {
			h.t.Errorf("misc/%s is there: %v", name, err)
		}
	}
}

// copied is a copy of a home, or of some of its directories.
func (h *refsHome) copied(dirs ...string) *packHome {
	h.t.Helper()
	p := &packHome{t: h.t, home: filepath.Join(h.t.TempDir(), "home")}
	for _, dir := range dirs {
		if err := os.CopyFS(filepath.Join(p.home, dir), os.DirFS(filepath.Join(h.home, dir))); err != nil {
			h.t.Fatal(err)
		}
	}
	return p
}

func TestCheckWritesTheIndexThatRefsWrites(t *testing.T) {
	t.Parallel()
	for name, class := range map[string]zodb.Class{"Full": zodb.ClassFull, "Minimal": zodb.ClassMinimal} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newRefsHome(t, engine.CreateOptions{Class: class, Format: "lawn"})
			exampleGraph(h)
			if err := h.s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.commit(map[zodb.OID][]byte{1: pickled("Folder", strongRef(2)), 6: pickled("New", strongRef(0), strongRef(9))})
			if class == zodb.ClassFull {
				h.commit(map[zodb.OID][]byte{4: nil})
			}
			h.copied("config", "A", "B", "journal", "misc").isIndexOfRefs("what waits in the journal", exitDamage, exitOK)
			if err := h.s.Close(); err != nil {
				t.Fatal(err)
			}
			h.copied("config", "A").isIndexOfRefs("a copy", exitDamage, exitOK)
			p := h.copied("config", "A", "B", "journal", "misc")
			if stats := p.isIndexOfRefs("nothing that cannot be seen", exitDamage, exitOK); stats.Skipped != 0 || stats.Targets != 4 {
				t.Errorf("%+v", stats)
			}
			h.open()
			h.commit(map[zodb.OID][]byte{7: []byte("no pickle"), 8: pickled("Lost", strongRef(7)), 5: pickled("Damaged", strongRef(7))})
			if err := h.s.Close(); err != nil {
				t.Fatal(err)
			}
			p = h.copied("config", "A", "B", "journal", "misc")
			p.spoil(5, func(name string) error { return os.Truncate(name, 80) })
			want := int64(2)
			if class == zodb.ClassFull {
				want = 3
				p.spoil(8, os.Remove)
			}
			if stats := p.isIndexOfRefs("damage", exitDamage, exitDamage); stats.Skipped != want {
				t.Errorf("%+v, want %d skipped", stats, want)
			}
		})
	}
}

// spoil changes the file of the only revision of an object, in format lawn.
func (h *packHome) spoil(oid zodb.OID, how func(name string) error) {
	h.t.Helper()
	var names []string
	for name := range h.content() {
		if strings.Contains(name, oid.String()) && !strings.HasSuffix(name, "c") {
			names = append(names, name)
		}
	}
	if len(names) != 1 {
		h.t.Fatal(names)
	}
	if err := how(filepath.Join(h.home, names[0])); err != nil {
		h.t.Fatal(err)
	}
}

func TestCheckWritesTheIndexOfARunningStorage(t *testing.T) {
	t.Parallel()
	h := newPackHome(t)
	h.start(nil)
	h.commit(map[zodb.OID][]byte{1: packData("Kept", "four", 2)})
	h.isIndexOfRefs("running", exitOK, exitOK)
	h.commit(map[zodb.OID][]byte{5: packData("Gone", "refers now", 2)})
	stdout, _ := h.must(exitOK, "refs", "--json", "HOME", "0000000000000002")
	a := parseRefs(t, stdout)
	if a.IndexTID == nil || *a.IndexTID != h.tids[4] || a.who() != "1 3 5" {
		t.Errorf("refs says %+v", a)
	}
	h.must(exitUsage, "check", "--refs", "--since", h.tids[0].String(), "HOME")
}

// TestCheckWritesNoIndexThatCouldLackObjects looks at damage that hides current
// revisions, and at obstacles: the index of before stays, and the check
// goes on to its end.
func TestCheckWritesNoIndexThatCouldLackObjects(t *testing.T) {
	t.Parallel()
	noSerial := func(_ *testing.T, h *packHome) error { return os.Remove(filepath.Join(h.home, "A", "x.serial")) }
	for name, tc := range map[string]struct {
		spoil  func(t *testing.T, h *packHome) error
		status int
		says   string
	}{
		"no x.serial": {noSerial, exitDamage, "there may be objects that were not read"},
		"no x.serial beside files": {func(_ *testing.T, h *packHome) error {
			return os.Remove(filepath.Join(h.home, "A", "x", "serial"))
		}, exitDamage, "there may be objects that were not read"},
		"a bundle that is cut off": {func(_ *testing.T, h *packHome) error {
			bundles, err := filepath.Glob(filepath.Join(h.home, "A", "bundles", "*.zst"))
			return errors.Join(err, os.Truncate(bundles[0], 90))
		}, exitDamage, "there may be objects that were not read"},
		"a lost bundle": {func(_ *testing.T, h *packHome) error {
			return os.Remove(h.writeAlone(1, packData("Kept", "lost")))
		}, exitDamage, "there may be objects that were not read"},
		"a bad journal": {func(_ *testing.T, h *packHome) error {
			return os.WriteFile(filepath.Join(h.home, "journal", "stray"), nil, 0o644)
		}, exitDamage, "there may be objects that were not read"},
		"a directory of files elsewhere": {func(t *testing.T, h *packHome) error {
			dirs, err := filepath.Glob(filepath.Join(h.home, "A", "o*"))
			if err != nil {
				return err
			}
			elsewhere := filepath.Join(t.TempDir(), "objects")
			return errors.Join(os.Rename(dirs[0], elsewhere), os.Symlink(elsewhere, dirs[0]))
		}, exitOK, "there may be objects that were not read"},
		"another writer": {func(t *testing.T, h *packHome) error {
			f, err := vfs.OS(h.home)
			if err != nil {
				return err
			}
			w, err := refindex.New(f, "misc", 0, 1<<20)
			t.Cleanup(func() { w.Abort() })
			return err
		}, exitOK, "holds misc/refs.tmp"},
		"no place": {func(_ *testing.T, h *packHome) error {
			return os.Mkdir(filepath.Join(h.home, "misc", "refs.tmp"), 0o777)
		}, exitOK, "refs.tmp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			format := layout.Bundled
			if strings.Contains(name, "files") {
				format = layout.Chunky
			}
			h := newPackHomeOf(t, format)
			index := filepath.Join(h.home, "misc", "refs")
			h.must(exitOK, "refs", "--write-index", "HOME")
			before, err := os.ReadFile(index)
			if err == nil {
				err = tc.spoil(t, h)
			}
			if err != nil {
				t.Fatal(err)
			}
			stdout, stderr := h.must(tc.status, "check", "--refs", "HOME")
			if !strings.Contains(stderr, "dirstorage: misc/refs is not written: ") || !strings.Contains(stderr, tc.says) || !strings.Contains(stdout, "files read: ") || strings.Contains(stdout, "misc/refs") {
				t.Errorf("it says:\n%s%s", stdout, stderr)
			}
			after, err := os.ReadFile(index)
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the index is another one: %v", err)
			}
			if name != "another writer" && name != "no place" {
				h.noIndexBegun()
			}
		})
	}
}
