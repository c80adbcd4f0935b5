package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/refindex"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// pickled makes a record of a class of module app, with references.
func pickled(class string, refs ...string) []byte {
	return []byte("\x80\x03capp\n" + class + "\n.\x80\x03(" + strings.Join(refs, "") + "t.")
}

func pickledOID(oid zodb.OID) string { return "C\x08" + string(oid.Bytes()) }

func strongRef(oid zodb.OID) string { return pickledOID(oid) + "Q" }

func namedRef(oid zodb.OID, class string) string {
	return pickledOID(oid) + "capp\n" + class + "\n\x86Q"
}

func weakRef(oid zodb.OID) string { return "](X\x01\x00\x00\x00w" + pickledOID(oid) + "\x85eQ" }

func farRef(oid zodb.OID) string {
	return "](X\x01\x00\x00\x00mX\x05\x00\x00\x00other" + pickledOID(oid) + "capp\nFar\n\x87eQ"
}

// refsHome is a storage that is open for writing while the command looks at it.
type refsHome struct {
	t    *testing.T
	home string
	s    *engine.Storage
}

func newRefsHome(t *testing.T, o engine.CreateOptions) *refsHome {
	t.Helper()
	o.Set = map[string]string{"storage.check_dangling_references": "0"}
	h := &refsHome{t: t, home: enginetest.Home(t, o)}
	h.open()
	return h
}

func (h *refsHome) open() {
	h.t.Helper()
	h.s = enginetest.Open(h.t, h.home, engine.Options{NoControlSocket: true, SegmentSize: 64 << 10})
}

// commit stores records; nil deletes the object.
func (h *refsHome) commit(records map[zodb.OID][]byte) zodb.TID {
	h.t.Helper()
	var changes []enginetest.Change
	for _, oid := range slices.Sorted(maps.Keys(records)) {
		changes = append(changes, enginetest.Change{OID: oid, Data: records[oid]})
	}
	return enginetest.Commit(h.t, h.s, changes...)
}

// run runs the command.
func (h *refsHome) run(args ...string) (status int, stdout, stderr string) {
	h.t.Helper()
	var out, errs bytes.Buffer
	e := &env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Getenv: func(string) string { return "" }}
	status = run(h.t.Context(), e, append([]string{"refs"}, args...))
	return status, out.String(), errs.String()
}

// ask returns the answer about an object.
func (h *refsHome) ask(wantStatus int, oid zodb.OID, flags ...string) (a refsOutput, stderr string) {
	h.t.Helper()
	status, stdout, stderr := h.run(append(flags, "--json", h.home, oid.String())...)
	if status != wantStatus {
		h.t.Errorf("%s %v: exit status %d, want %d: %s", oid, flags, status, wantStatus, stderr)
	}
	return parseRefs(h.t, stdout), stderr
}

// refsOutput is the documents of refs --json.
type refsOutput struct {
	refsAnswer
	list []referrer
}

// parseRefs reads the output of refs --json, and looks that the list is in order and whole.
func parseRefs(t *testing.T, stdout string) (a refsOutput) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	var last refsSummary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	a.refsAnswer = last.Summary
	for _, line := range lines[:len(lines)-1] {
		var r referrer
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		a.list = append(a.list, r)
	}
	ascends := slices.IsSortedFunc(a.list, func(a, b referrer) int { return cmp.Compare(a.OID, b.OID) })
	if int64(len(a.list)) != a.ReferredToBy || !ascends {
		t.Errorf("of a list of %d objects the summary counts %d; it ascends: %v:\n%s", len(a.list), a.ReferredToBy, ascends, stdout)
	}
	return a
}

func (h *refsHome) writeIndex(wantStatus int) {
	h.t.Helper()
	if status, _, stderr := h.run("--write-index", h.home); status != wantStatus {
		h.t.Fatalf("exit status %d, want %d: %s", status, wantStatus, stderr)
	}
}

func (h *refsHome) index() string { return filepath.Join(h.home, "misc", "refs") }

// who gives the objects that refer to one, with a mark for weak ones.
func (a refsOutput) who() string {
	var words []string
	for _, r := range a.list {
		w := fmt.Sprint(uint64(r.OID))
		if r.Weak {
			w += "w"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func exampleGraph(h *refsHome) zodb.TID {
	return h.commit(map[zodb.OID][]byte{
		0: pickled("Root", namedRef(1, "Folder"), strongRef(2), weakRef(3), weakRef(3)),
		1: pickled("Folder", strongRef(2), namedRef(9, "Gone"), strongRef(1), weakRef(1)),
		2: pickled("Leaf"),
		3: pickled("Ghost", weakRef(2), farRef(4)),
		4: pickled("Lonely", strongRef(9), weakRef(8)),
	})
}

func TestRefsAnswersBothWays(t *testing.T) {
	t.Parallel()
	h := newRefsHome(t, engine.CreateOptions{})
	tid := exampleGraph(h)
	yes, no := true, false
	check := func(index *zodb.TID) {
		t.Helper()
		for _, want := range []refsOutput{
			{refsAnswer{OID: 1, Exists: true, Serial: tid, Class: "app.Folder",
				RefersTo: []target{{OID: 2, Exists: &yes}, {OID: 9, Class: "app.Gone", Exists: &no}, {OID: 1, Exists: &yes}, {OID: 1, Weak: true, Exists: &yes}}},
				[]referrer{{OID: 0, Class: "app.Root", Serial: tid}, {OID: 1, Class: "app.Folder", Serial: tid}}},
			{refsAnswer{OID: 3, Exists: true, Serial: tid, Class: "app.Ghost",
				RefersTo: []target{{OID: 2, Weak: true, Exists: &yes}, {OID: 4, Class: "app.Far", Database: "other"}}}, nil},
			{refsAnswer{OID: 9, Reason: "there is no such object", Class: "app.Gone", RefersTo: []target{}},
				[]referrer{{OID: 1, Class: "app.Folder", Serial: tid}, {OID: 4, Class: "app.Lonely", Serial: tid}}},
		} {
			want.IndexTID, want.ReferredToBy = index, int64(len(want.list))
			got, stderr := h.ask(exitOK, want.OID)
			if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(refsOutput{}, refsAnswer{}, referrer{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", want.OID, diff)
			}
			if (index == nil) != strings.Contains(stderr, "there is no misc/refs: every object is read\nhint: dirstorage refs --write-index "+h.home) {
				t.Errorf("said %q", stderr)
			}
		}
		// It is for strong references only unless it is asked for.
		for oid, want := range map[zodb.OID]string{2: "0 1", 3: "", 1: "0 1"} {
			if a, _ := h.ask(exitOK, oid); a.who() != want {
				t.Errorf("who refers to %s: %s, want %s", oid, a.who(), want)
			}
		}
		for oid, want := range map[zodb.OID]string{2: "0 1 3w", 3: "0w", 1: "0 1", 4: "", 8: "4w"} {
			if a, stderr := h.ask(exitOK, oid, "--weak"); a.who() != want || a.IndexTID != nil || stderr != "" {
				t.Errorf("who weakly refers to %s: %s, want %s; said %q", oid, a.who(), want, stderr)
			}
		}
		if a, stderr := h.ask(exitFailed, 77); a.Exists || a.who() != "" || !strings.Contains(stderr, "000000000000004D does not exist, and nothing refers to it by a strong reference") {
			t.Errorf("%+v, said %q", a, stderr)
		}
	}
	check(nil)
	h.writeIndex(exitOK)
	check(&tid)
	// The same of a home that nobody has open, and of a copy of a snapshot.
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	check(&tid)
	for _, dir := range []string{"B", "journal", "misc"} {
		if err := os.RemoveAll(filepath.Join(h.home, dir)); err != nil {
			t.Fatal(err)
		}
	}
	check(nil)
	h.writeIndex(exitOK)
	check(&tid)
}

// TestRefsFollowsWhatWasWrittenSinceTheIndex compares answers with a model.
func TestRefsFollowsWhatWasWrittenSinceTheIndex(t *testing.T) {
	t.Parallel()
	h := newRefsHome(t, engine.CreateOptions{})
	random := rand.New(rand.NewPCG(1, 1))
	const objects = 12
	model := make(map[zodb.OID][]zodb.OID)
	for round := range 12 {
		changes := make(map[zodb.OID][]byte)
		for range 1 + random.IntN(3) {
			oid := zodb.OID(random.Uint64N(objects))
			if _, there := model[oid]; there && random.IntN(4) == 0 {
				changes[oid] = nil
				delete(model, oid)
				continue
			}
			var refs []string
			model[oid] = nil
			for range random.IntN(4) {
				to := zodb.OID(random.Uint64N(objects))
				model[oid] = append(model[oid], to)
				refs = append(refs, strongRef(to))
			}
			changes[oid] = pickled("Node", refs...)
		}
		h.commit(changes)
		switch random.IntN(6) {
		case 0:
			h.writeIndex(exitOK)
		case 1:
			if err := h.s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		case 2:
			if err := h.s.Close(); err != nil {
				t.Fatal(err)
			}
			h.open()
		}
		_, err := os.Stat(h.index())
		for oid := range zodb.OID(objects) {
			_, exists := model[oid]
			var want []string
			for from := range zodb.OID(objects) {
				if slices.Contains(model[from], oid) {
					want = append(want, fmt.Sprint(uint64(from)))
				}
			}
			status := exitOK
			if !exists && len(want) == 0 {
				status = exitFailed
			}
			a, _ := h.ask(status, oid)
			if a.Exists != exists || a.who() != strings.Join(want, " ") {
				t.Errorf("round %d, object %s: %v, referred to by %s; want %v, %v", round, oid, a.Exists, a.who(), exists, want)
			}
			if (a.IndexTID != nil) != (err == nil) {
				t.Errorf("round %d: index: %v, used up to %v", round, err, a.IndexTID)
			}
		}
	}
	if _, err := os.Stat(h.index()); err != nil {
		t.Error(err)
	}
}

// otherIndex puts an index of something else into its place.
func (h *refsHome) otherIndex(tid zodb.TID) {
	h.t.Helper()
	f, err := vfs.OS(h.home)
	if err != nil {
		h.t.Fatal(err)
	}
	w, err := refindex.New(f, "misc", tid, 1<<20)
	if err == nil {
		_, err = w.Finish(h.t.Context(), vfs.SyncOptions{})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func TestRefsReadsEverythingIfTheIndexIsOfNoUse(t *testing.T) {
	t.Parallel()
	h := newRefsHome(t, engine.CreateOptions{})
	tid := exampleGraph(h)
	h.commit(map[zodb.OID][]byte{5: pickled("Late")})
	for _, tc := range []struct {
		name  string
		spoil func()
		said  string
	}{
		{"of another history", func() { h.otherIndex(tid - 1) }, "which the storage does not have"},
		{"of the future", func() { h.otherIndex(tid + 1<<40) }, "which the storage does not have"},
		{"damaged header", func() {
			if err := os.WriteFile(h.index(), []byte("nonsense"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "corrupt data in misc/refs: index of references: it is shorter than a header; write it again"},
		{"damaged block", func() {
			h.writeIndex(exitOK)
			b, err := os.ReadFile(h.index())
			if err == nil {
				b[70] ^= 1
				err = os.WriteFile(h.index(), b, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "corrupt data in misc/refs at offset 64: index of references: the checksum of a block is wrong; write it again"},
	} {
		tc.spoil()
		a, stderr := h.ask(exitOK, 9)
		if a.who() != "1 4" || a.IndexTID != nil || !strings.Contains(stderr, tc.said) || !strings.Contains(stderr, "hint: ") {
			t.Errorf("%s: %s, said %q", tc.name, a.who(), stderr)
		}
	}
	h.writeIndex(exitOK)
	if a, stderr := h.ask(exitOK, 9); a.who() != "1 4" || a.IndexTID == nil || stderr != "" {
		t.Errorf("written again: %s, said %q", a.who(), stderr)
	}
}

func TestRefsOfAMinimalStorage(t *testing.T) {
	t.Parallel()
	h := newRefsHome(t, engine.CreateOptions{Class: zodb.ClassMinimal})
	tid := exampleGraph(h)
	h.writeIndex(exitOK)
	if a, _ := h.ask(exitOK, 9); a.who() != "1 4" || a.IndexTID == nil || *a.IndexTID != tid {
		t.Errorf("%+v", a)
	}
	h.commit(map[zodb.OID][]byte{2: pickled("Leaf", strongRef(9))})
	if a, stderr := h.ask(exitOK, 9); a.who() != "1 2 4" || a.IndexTID != nil || !strings.Contains(stderr, "class Minimal does not know") {
		t.Errorf("%+v, said %q", a, stderr)
	}
}

func TestRefsNamesWhatItCannotSee(t *testing.T) {
	t.Parallel()
	h := newRefsHome(t, engine.CreateOptions{Format: "lawn"})
	exampleGraph(h)
	h.commit(map[zodb.OID][]byte{6: []byte("no pickle")})
	if a, stderr := h.ask(exitOK, 9); a.who() != "1 4" || a.Unseen != 1 || !strings.Contains(stderr, "object 0000000000000006: pickle at offset") {
		t.Errorf("%+v, said %q", a, stderr)
	}
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	// One is damaged, of another the file is missing.
	for oid, spoil := range map[zodb.OID]func(string) error{
		4: func(name string) error { return os.WriteFile(name, []byte("damaged"), 0o644) },
		2: os.Remove,
	} {
		names, err := filepath.Glob(filepath.Join(h.home, "A", "o"+oid.String(), "0*"))
		if err == nil && len(names) != 1 {
			err = fmt.Errorf("%v", names)
		}
		if err == nil {
			err = spoil(names[0])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // by reading everything, and by the index
		a, stderr := h.ask(exitDamage, 2)
		if a.Exists || a.who() != "0 1" || !strings.Contains(a.Reason, "is missing") {
			t.Errorf("%+v, said %q", a, stderr)
		}
		a, stderr = h.ask(exitDamage, 4)
		if !a.Exists || a.who() != "" || !strings.Contains(a.Reason, "corrupt") || a.Unseen != 3 {
			t.Errorf("%+v, said %q", a, stderr)
		}
		h.writeIndex(exitDamage)
	}
	// The one that refers to it is damaged, and was when the index was written.
	if a, stderr := h.ask(exitDamage, 9); a.who() != "1" || a.Unseen != 3 || !strings.Contains(stderr, "could not be seen: 3, damaged: 2;") {
		t.Errorf("%+v, said %q", a, stderr)
	}
}

func TestRefsWritesOneIndexAtATime(t *testing.T) {
	t.Parallel()
	h := newRefsHome(t, engine.CreateOptions{})
	f, err := vfs.OS(h.home)
	if err != nil {
		t.Fatal(err)
	}
	w, err := refindex.New(f, "misc", 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if status, _, stderr := h.run("--write-index", h.home); status != exitLocked || !strings.Contains(stderr, "hint: somebody else writes it") {
		t.Errorf("exit status %d, said %q", status, stderr)
	}
}

// TestMemoryOfReferencesFollowsTheLimitOfTheProcess is not parallel: the limit is that of all.
func TestMemoryOfReferencesFollowsTheLimitOfTheProcess(t *testing.T) {
	before := debug.SetMemoryLimit(128 << 20)
	index, candidates := indexMemory(), candidatesMemory()
	debug.SetMemoryLimit(16 << 30)
	most, mostCandidates := indexMemory(), candidatesMemory()
	debug.SetMemoryLimit(before)
	if index != 16<<20 || candidates != 32<<20 {
		t.Errorf("of 128 MiB the index takes %d bytes, want 16 MiB, and the candidates %d, want 32 MiB", index, candidates)
	}
	if most != 64<<20 || mostCandidates != 64<<20 {
		t.Errorf("of 16 GiB the index takes %d bytes and the candidates %d, want 64 MiB each", most, mostCandidates)
	}
}
