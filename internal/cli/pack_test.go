package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/zodb"
)

// packHome is a HOME with something to pack: the root object 0 refers to 1, which
// has three revisions; nothing refers to 2, 3 and 4, of class app.Lost, of which 4
// has two revisions and a blob, and to 5, of class app.Gone; the last transaction
// writes the root object.
type packHome struct {
	t    *testing.T
	home string
	s    *engine.Storage // nil: it is stopped
	tids []zodb.TID
}

func packData(class, text string, refs ...zodb.OID) []byte {
	b := fmt.Appendf(nil, "\x80\x03capp\n%s\n.\x80\x03(X%c\x00\x00\x00%s", class, len(text), text)
	for _, oid := range refs {
		b = append(append(append(b, "C\x08"...), oid.Bytes()...), 'Q')
	}
	return append(b, "t."...)
}

// newPackHome makes one of the default format that is stopped. Set are settings, as
// SECTION.OPTION=VALUE.
func newPackHome(t *testing.T, set ...string) *packHome {
	t.Helper()
	return newPackHomeOf(t, "", set...)
}

func newPackHomeOf(t *testing.T, format layout.Format, set ...string) *packHome {
	t.Helper()
	o := engine.CreateOptions{Format: string(format), Set: map[string]string{"storage.min_pack_time": "0"}}
	for _, kv := range set {
		if k, v, _ := strings.Cut(kv, "="); k == "format" {
			o.Format = v
		} else {
			o.Set[k] = v
		}
	}
	h := &packHome{t: t, home: enginetest.Home(t, o)}
	h.start(nil)
	if _, err := h.s.NewOIDs(10); err != nil {
		t.Fatal(err)
	}
	h.commit(map[zodb.OID][]byte{0: packData("Root", "first", 1, 4), 1: packData("Kept", "one"), 4: packData("Lost", "four")})
	h.commit(map[zodb.OID][]byte{1: packData("Kept", "two"), 2: packData("Lost", "two", 3), 3: packData("Lost", "three", 2), 5: packData("Gone", "five")})
	h.commit(map[zodb.OID][]byte{1: packData("Kept", "three"), 4: packData("Lost", "four again")}, 4)
	h.commit(map[zodb.OID][]byte{0: packData("Root", "last", 1)})
	h.stop()
	return h
}

// start opens the storage in this process, with a control socket. Log is told
// its work; nil: nobody.
func (h *packHome) start(log io.Writer) {
	h.t.Helper()
	o := engine.Options{SegmentSize: 64 << 10}
	if log != nil {
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	h.s = enginetest.Open(h.t, h.home, o)
}

func (h *packHome) stop() {
	h.t.Helper()
	if h.s == nil {
		return
	}
	if err := h.s.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.s = nil
}

func (h *packHome) begin(records map[zodb.OID][]byte, blobs ...zodb.OID) zodb.Txn {
	h.t.Helper()
	var changes []enginetest.Change
	for oid, data := range records {
		c := enginetest.Change{OID: oid, Data: data}
		if slices.Contains(blobs, oid) {
			c.Blob = strings.Repeat("blob", 100)
		}
		changes = append(changes, c)
	}
	return enginetest.Voted(h.t, h.s, enginetest.Options{}, changes...)
}

func (h *packHome) commit(records map[zodb.OID][]byte, blobs ...zodb.OID) {
	h.t.Helper()
	tid, err := h.begin(records, blobs...).Finish(h.t.Context(), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.tids = append(h.tids, tid)
}

// run runs a command, with HOME in place of the word HOME.
func (h *packHome) run(args ...string) (code int, stdout, stderr string) {
	h.t.Helper()
	return h.runIn(h.t.Context(), &env{}, args...)
}

// runIn is run in an environment whose missing variables are filled in.
func (h *packHome) runIn(ctx context.Context, e *env, args ...string) (code int, stdout, stderr string) {
	h.t.Helper()
	var out, errs lockedBuffer
	e.Stdin, e.Stdout, e.Getenv = strings.NewReader(""), &out, func(string) string { return "" }
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.Stderr == nil {
		e.Stderr = &errs
	} else {
		e.Stderr = io.MultiWriter(&errs, e.Stderr)
	}
	args = append([]string(nil), args...)
	for i, a := range args {
		if a == "HOME" {
			args[i] = h.home
		}
	}
	code = run(ctx, e, args)
	return code, out.String(), errs.String()
}

// must runs a command that has to end with that status.
func (h *packHome) must(want int, args ...string) (stdout, stderr string) {
	h.t.Helper()
	code, stdout, stderr := h.run(args...)
	if code != want {
		h.t.Fatalf("%v: exit status %d, want %d\n%s%s", args, code, want, stdout, stderr)
	}
	return stdout, stderr
}

// json runs a command that prints a document.
func (h *packHome) json(want int, into any, args ...string) {
	h.t.Helper()
	stdout, _ := h.must(want, append(args, "--json")...)
	if err := json.Unmarshal([]byte(stdout), into); err != nil {
		h.t.Fatalf("%v: %v\n%s", args, err, stdout)
	}
}

// clean runs check, which must find nothing at all.
func (h *packHome) clean() {
	h.t.Helper()
	stdout, stderr := h.must(exitOK, "check", "HOME")
	if !strings.HasSuffix(stdout, " 0 damaged, 0 warnings, 0 notes\n") || strings.Count(stdout, "\n") != 2 {
		h.t.Errorf("check found something:\n%s%s", stdout, stderr)
	}
}

// flushed brings everything of a running storage into A.
func (h *packHome) flushed() {
	h.t.Helper()
	if h.s == nil {
		return
	}
	if err := h.s.Flush(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// content returns each file below A, with its content and its time of modification.
func (h *packHome) content() map[string]string {
	h.t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(filepath.Join(h.home, "A"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		name, _ := filepath.Rel(h.home, path)
		files[name] = fmt.Sprintf("%x %s", b, info.ModTime())
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return files
}

// lockedBuffer may be written and read at the same time. It calls a function when
// something is written.
type lockedBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer // guarded by mu
	seen func(text string)
}

func (w *lockedBuffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.b.Write(p)
	w.mu.Unlock()
	if w.seen != nil {
		w.seen(string(p))
	}
	return len(p), nil
}

func (w *lockedBuffer) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// inBundles and inFiles run a test with a home of bundles, and with one that has a file for each
// revision.
func inBundles(t *testing.T, set []string, f func(t *testing.T, h *packHome)) {
	t.Helper()
	t.Run("bundles", func(t *testing.T) { bothOf(t, layout.Bundled, set, f) })
}

func inFiles(t *testing.T, set []string, f func(t *testing.T, h *packHome)) {
	t.Helper()
	t.Run("files", func(t *testing.T) { bothOf(t, layout.Chunky, set, f) })
}

// both runs a test with both of these, if there is time.
func both(t *testing.T, set []string, f func(t *testing.T, h *packHome)) {
	t.Helper()
	inBundles(t, set, f)
	if !testing.Short() {
		inFiles(t, set, f)
	}
}

// bothOf runs a test with a storage that is stopped and with one that runs in this process.
func bothOf(t *testing.T, format layout.Format, set []string, f func(t *testing.T, h *packHome)) {
	t.Helper()
	for _, how := range []string{"stopped", "running"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			h := newPackHomeOf(t, format, set...)
			if how == "running" {
				h.start(nil)
			}
			f(t, h)
		})
	}
}

// TestPackDoesWhatItsDryRunSaid compares the words of a dry run, those of a pack, and the files.
func TestPackDoesWhatItsDryRunSaid(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, h *packHome, files bool) {
		h.flushed()
		before := h.content()
		var dry, report, done zodb.PackResult
		h.json(exitOK, &dry, "pack", "--keep", "0", "--dry-run", "HOME")
		h.json(exitOK, &report, "gc", "--report", "--keep", "0", "HOME")
		text, _ := h.must(exitOK, "pack", "--keep", "0", "--dry-run", "HOME")
		for _, want := range []string{"would remove 4 objects, 8 revisions;", "3 old revisions with", "3 objects with", "of class app.Lost\n", "1 object with", "of class app.Gone\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("the dry run does not say %q:\n%s", want, text)
			}
		}
		if diff := cmp.Diff(before, h.content()); diff != "" {
			t.Errorf("a dry run changed something:\n%s", diff)
		}
		if diff := cmp.Diff(dry, report); diff != "" {
			t.Errorf("pack --dry-run and gc --report differ:\n%s", diff)
		}
		if _, err := os.Stat(filepath.Join(h.home, "misc", "pack")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a dry run left a plan: %v", err)
		}
		sizes := make(map[string]int64)
		for name := range before {
			if info, err := os.Stat(filepath.Join(h.home, name)); err == nil {
				sizes[name] = info.Size()
			}
		}
		h.json(exitOK, &done, "pack", "--keep", "0", "HOME")
		if done.Objects != 4 || done.Revisions != 8 || done.Transactions != 2 || done.Blobs != 1 || done.Threshold != h.tids[3]+1 || done.Stamp != 0 {
			t.Errorf("it says %+v", done)
		}
		if dry.Objects != done.Objects || dry.Revisions != done.Revisions || dry.Threshold != done.Threshold {
			t.Errorf("the dry run said %+v, the pack %+v", dry, done)
		}
		var classes []string
		for _, c := range dry.Classes {
			classes = append(classes, fmt.Sprintf("%s %d %d", c.Class, c.Objects, c.Revisions))
		}
		if diff := cmp.Diff([]string{"app.Lost 3 4", "app.Gone 1 1"}, classes); diff != "" {
			t.Error(diff)
		}
		after := h.content()
		var revisions, all, transactions int64
		isTransaction := regexp.MustCompile(`^A/t`)
		isPointer := regexp.MustCompile(`[./]c$`)
		for name, size := range sizes {
			if _, there := after[name]; there || isPointer.MatchString(name) {
				continue
			}
			all += size
			if isTransaction.MatchString(name) {
				transactions++
			} else {
				revisions += size
			}
		}
		blob := int64(len("blob")) * 100
		if !files && (dry.Bytes <= blob || done.Bytes <= dry.Bytes || all < blob) {
			t.Errorf("the dry run said %d bytes, the pack %d; files with %d are gone", dry.Bytes, done.Bytes, all)
		}
		if files && (dry.Bytes != revisions || done.Bytes != all || done.Transactions != transactions) {
			t.Errorf("%d bytes of revisions went, the dry run said %d; %d of all and %d transactions, the pack said %+v", revisions, dry.Bytes, all, transactions, done)
		}
		h.clean()
		text, _ = h.must(exitOK, "pack", "--keep", "0", "HOME")
		if !strings.Contains(text, "removed 0 objects, 0 revisions, 0 transactions, 0 blobs; 0 B\n") || strings.Contains(text, "--undelete") {
			t.Errorf("a second pack says:\n%s", text)
		}
		text, _ = h.must(exitOK, "status", "HOME")
		if !strings.Contains(text, "holds:             2 objects, 2 revisions, 2 transactions;") {
			t.Errorf("status says:\n%s", text)
		}
	}
	set := []string{"storage.delay_delete=0"}
	inBundles(t, set, func(t *testing.T, h *packHome) { test(t, h, false) })
	inFiles(t, set, func(t *testing.T, h *packHome) { test(t, h, true) })
}

func TestPackWritesTheIndexOfReferencesIfItIsTold(t *testing.T) {
	t.Parallel()
	both(t, nil, func(t *testing.T, h *packHome) {
		h.must(exitOK, "pack", "--keep", "0", "HOME")
		if _, err := os.Stat(filepath.Join(h.home, "misc", "refs")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without --refs there is an index: %v", err)
		}
		h.must(exitOK, "pack", "--keep", "0", "--refs", "HOME")
		stdout, _ := h.must(exitOK, "refs", "--json", "HOME", "0000000000000001")
		a := parseRefs(t, stdout)
		if a.IndexTID == nil || a.who() != "0" {
			t.Errorf("refs says %+v", a)
		}
		h.clean()
	})
}

// TestCheckIsCleanAfterPacksWithKeepclass makes an old revision that only a rule
// keeps, and with it the objects that it refers to.
func TestCheckIsCleanAfterPacksWithKeepclass(t *testing.T) {
	t.Parallel()
	for rule, objects := range map[string]string{"forever": "4 objects, 8 revisions,", "extra 1": "4 objects, 8 revisions,", "extra 0": "2 objects, 2 revisions,"} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			both(t, []string{"keepclass.app.Kept=" + rule, "storage.delay_delete=0"}, func(t *testing.T, h *packHome) {
				running := h.s != nil
				if !running {
					h.start(nil)
				}
				h.commit(map[zodb.OID][]byte{1: packData("Kept", "refers", 2)})
				h.commit(map[zodb.OID][]byte{1: packData("Kept", "no more")})
				h.commit(map[zodb.OID][]byte{0: packData("Root", "and again", 1)})
				if !running {
					h.stop()
				}
				for range 2 {
					h.must(exitOK, "pack", "--keep", "0", "HOME")
					if stdout, _ := h.must(exitOK, "status", "--count", "HOME"); !strings.Contains(stdout, objects) {
						t.Errorf("want %s, status says:\n%s", objects, stdout)
					}
					h.clean()
				}
			})
		})
	}
}

func TestPackToldNotToCollectGarbageKeepsObjects(t *testing.T) {
	t.Parallel()
	both(t, nil, func(t *testing.T, h *packHome) {
		var done zodb.PackResult
		h.json(exitOK, &done, "pack", "--keep", "0", "--gc=off", "HOME")
		if done.Objects != 0 || done.Revisions != 4 {
			t.Errorf("it says %+v", done)
		}
		h.clean()
		h.json(exitOK, &done, "pack", "--keep", "0", "HOME")
		if done.Objects != 4 || done.Revisions != 4 {
			t.Errorf("then it says %+v", done)
		}
		h.clean()
	})
}

// TestPackTimes looks at the meaning of --keep, and that a pack goes by it.
func TestPackTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	e := &env{Now: func() time.Time { return now }, Getenv: func(string) string { return "" }}
	for keep, want := range map[string]time.Time{
		"1":                    now.AddDate(0, 0, -1),
		"0":                    now,
		"0.5":                  now.Add(-12 * time.Hour),
		"30":                   now.AddDate(0, 0, -30),
		"100000":               time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC),
		"2026-03-01T10:00:00Z": time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		"36 hours ago":         now.Add(-36 * time.Hour),
		zodb.TIDFromTime(now.Add(-time.Minute)).String(): zodb.TIDFromTime(now.Add(-time.Minute)).Time(),
	} {
		o := packCommand{keep: keep, gc: "on"}
		p, err := o.options(e)
		if err != nil || !p.Time.Equal(want) || p.NoGC {
			t.Errorf("--keep %q: %+v, %v; want %s", keep, p, err, want)
		}
	}
	h := newPackHome(t)
	before := h.content()
	for _, args := range [][]string{
		{"--keep", "-1"}, {"--keep", "inf"}, {"--keep", "nan"}, {"--keep", "1e300"}, {"--keep", "yesterday-ish"}, {"--keep", ""}, {"--keep", "0x"},
		{"--gc", "maybe"}, {"--gc="}, {"--undelete", "some"}, {"--undelete", "-5"}, {"--undelete", "0"}, {"--undelete", ""},
		{"--undelete", "all", "--keep", "1"}, {"--undelete", "all", "--gc=off"}, {"--undelete", "all", "--dry-run"}, {"--undelete", "all", "--skip-broken"}, {"--undelete", "all", "--refs"},
		{"another"},
	} {
		_, stderr := h.must(exitUsage, append([]string{"pack", "HOME"}, args...)...)
		if !strings.HasPrefix(stderr, "dirstorage: ") {
			t.Errorf("%v: %s", args, stderr)
		}
	}
	_, stderr := h.must(exitUsage, "gc", "HOME")
	if !strings.Contains(stderr, "--report") {
		t.Errorf("gc says %s", stderr)
	}
	h.must(exitNoStorage, "pack", filepath.Join(h.home, "misc"))
	if diff := cmp.Diff(before, h.content()); diff != "" {
		t.Error(diff)
	}

	// Revisions that were current at a transaction stay, and all later ones.
	var done zodb.PackResult
	h.json(exitOK, &done, "pack", "--keep", h.tids[1].String(), "HOME")
	if done.Threshold != h.tids[1] || done.Objects != 0 || done.Revisions != 1 || done.Transactions != 0 {
		t.Errorf("packed to the second transaction it says %+v", done)
	}
	h.json(exitOK, &done, "pack", "--keep", "1900-01-02", "HOME")
	if done.Objects+done.Revisions+done.Transactions != 0 {
		t.Errorf("a pack to the beginning says %+v", done)
	}
	h.json(exitOK, &done, "pack", "HOME")
	if done.Objects+done.Revisions+done.Transactions != 0 {
		t.Errorf("a pack that keeps a day says %+v", done)
	}
	h.clean()
}

// packBefore is a storage at an earlier time.
type packBefore struct {
	files map[string]string // see content
	home  string            // a copy
}

func (h *packHome) asItIs() packBefore {
	h.t.Helper()
	b := packBefore{files: h.content(), home: filepath.Join(h.t.TempDir(), "before")}
	for _, dir := range []string{"A", "config"} {
		if err := os.CopyFS(filepath.Join(b.home, dir), os.DirFS(filepath.Join(h.home, dir))); err != nil {
			h.t.Fatal(err)
		}
	}
	return b
}

// isAsBefore compares every record, and the files below A but for the times, the x files, and the
// lists of gone members: the newest one has none.
func (h *packHome) isAsBefore(b packBefore) {
	h.t.Helper()
	e, _, _ := testEnv()
	now, err := openReader(h.t.Context(), e, h.home)
	if err != nil {
		h.t.Fatal(err)
	}
	defer now.Close()
	then, err := openReader(h.t.Context(), e, b.home)
	if err != nil {
		h.t.Fatal(err)
	}
	defer then.Close()
	if got, err := transfer.Compare(h.t.Context(), now, then, transfer.CompareOptions{}); err != nil || got.Kept != 0 || got.Records < 9 {
		h.t.Errorf("compared %+v: %v", got, err)
	}
	before, after := b.files, h.content()
	for _, files := range []map[string]string{before, after} {
		for name, content := range files {
			files[name], _, _ = strings.Cut(content, " ")
			if strings.HasPrefix(name, "A/x") || strings.HasSuffix(name, ".gone") {
				delete(files, name)
			}
		}
	}
	if diff := cmp.Diff(before, after); diff != "" {
		h.t.Errorf("what is there is not what was before:\n%s", diff)
	}
}

func TestUndeleteBringsBackByTheSecondsThatPackPrinted(t *testing.T) {
	t.Parallel()
	for _, which := range []string{"seconds", "all"} {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			both(t, nil, func(t *testing.T, h *packHome) {
				h.flushed()
				before := h.asItIs()
				_, stderr := h.must(exitFailed, "pack", "--undelete", "all", "HOME")
				if !strings.Contains(stderr, "nothing was put aside by packs, or it is back or gone already") || !strings.Contains(stderr, "hint: ") {
					t.Errorf("with nothing to bring back it says:\n%s", stderr)
				}
				stdout, _ := h.must(exitOK, "pack", "--keep", "0", "HOME")
				m := regexp.MustCompile(`--undelete (\d+) `).FindStringSubmatch(stdout)
				if m == nil {
					t.Fatalf("the pack names no seconds:\n%s", stdout)
				}
				if _, stderr := h.must(exitFailed, "pack", "--undelete", m[1]+"0", "HOME"); !strings.Contains(stderr, "nothing was put aside by that pack") {
					t.Errorf("of a pack that was not it says:\n%s", stderr)
				}
				if which == "all" {
					m[1] = "all"
				}
				stdout, _ = h.must(exitOK, "pack", "--undelete", m[1], "HOME")
				if stdout != "brought back 4 objects, 8 revisions, 2 transactions, 1 blob\n" {
					t.Errorf("it says %q", stdout)
				}
				h.isAsBefore(before)
				h.clean()
				var r zodb.UndeleteResult
				h.json(exitFailed, &r, "pack", "--undelete", m[1], "HOME")
				if r != (zodb.UndeleteResult{}) {
					t.Errorf("again: %+v", r)
				}
			})
		})
	}
}

// TestInterruptedUndeleteSaysWhatIsBack stops the command when the revisions are back
// and the objects are not.
func TestInterruptedUndeleteSaysWhatIsBack(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"text", "json"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			inFiles(t, nil, func(t *testing.T, h *packHome) {
				h.flushed()
				before := h.asItIs()
				h.must(exitOK, "pack", "--keep", "0", "HOME")
				code, stdout, stderr := h.interruptedBefore("bringing back objects", "pack", "--undelete", "all", "--json="+strconv.FormatBool(form == "json"), "HOME")
				if code != exitInterrupted || !strings.Contains(stderr, "hint: repeat it, it brings back the rest") {
					t.Errorf("exit status %d, it says:\n%s", code, stderr)
				}
				want := "brought back 0 objects, 8 revisions, 2 transactions, 1 blob\n"
				if form == "json" {
					var r zodb.UndeleteResult
					if err := json.Unmarshal([]byte(stdout), &r); err != nil || r != (zodb.UndeleteResult{Revisions: 8, Transactions: 2, Blobs: 1}) {
						t.Errorf("%v, it says:\n%s", err, stdout)
					}
				} else if stdout != want {
					t.Errorf("it says %q, not %q", stdout, want)
				}
				if stdout, _ := h.must(exitOK, "pack", "--undelete", "all", "HOME"); stdout != "brought back 4 objects, 0 revisions, 0 transactions, 0 blobs\n" {
					t.Errorf("again it says %q", stdout)
				}
				h.isAsBefore(before)
				h.clean()
			})
		})
	}
}

// TestInterruptedUndeleteOfBundles stops the command when the revisions are back: the part left to
// do is one list for each bundle, and it may be done or not.
func TestInterruptedUndeleteOfBundles(t *testing.T) {
	t.Parallel()
	inBundles(t, nil, func(t *testing.T, h *packHome) {
		h.flushed()
		before := h.asItIs()
		h.must(exitOK, "pack", "--keep", "0", "HOME")
		code, stdout, stderr := h.interruptedBefore("bringing back objects", "pack", "--undelete", "all", "HOME")
		if code != exitInterrupted || !strings.Contains(stderr, "hint: repeat it, it brings back the rest") {
			t.Errorf("exit status %d, it says:\n%s", code, stderr)
		}
		if code, again, stderr := h.run("pack", "--undelete", "all", "HOME"); code != exitOK && !strings.Contains(stdout, "brought back 4 objects, 8 revisions, 2 transactions, 1 blob") {
			t.Errorf("it says %q, and when it is repeated %d, %s%s", stdout, code, again, stderr)
		}
		h.isAsBefore(before)
		h.clean()
	})
}

// writeAlone commits a revision that has a file, or a bundle, of its own, and returns its path. The
// last transaction is one of the root object, again.
func (h *packHome) writeAlone(oid zodb.OID, data []byte) string {
	h.t.Helper()
	running := h.s != nil
	h.stop()
	before := h.content()
	h.start(nil)
	h.commit(map[zodb.OID][]byte{oid: data})
	h.stop()
	path := ""
	for name := range h.content() {
		if _, ok := before[name]; !ok && (strings.HasSuffix(name, "tar.zst") || strings.HasPrefix(name, "A/o")) {
			path = filepath.Join(h.home, name)
		}
	}
	if path == "" {
		h.t.Fatalf("object %s has no file", oid)
	}
	h.start(nil)
	h.commit(map[zodb.OID][]byte{0: packData("Root", "and again", 1)})
	h.stop()
	if running {
		h.start(nil)
	}
	return path
}

func damage(t *testing.T, path string, offset int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		b[offset] ^= 0xFF
		err = os.WriteFile(path, b, 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestPackOfADamagedStorage(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, h *packHome) {
		damage(t, h.writeAlone(1, packData("Kept", "four")), 40)
		before := h.content()
		for _, args := range [][]string{{"pack", "--keep", "0"}, {"pack", "--keep", "0", "--gc=off"}, {"pack", "--keep", "0", "--dry-run"}, {"gc", "--report", "--keep", "0"}} {
			_, stderr := h.must(exitDamage, append(args, "HOME")...)
			for _, want := range []string{"object 0000000000000001 cannot be read", "hint: nothing was removed; "} {
				if !strings.Contains(stderr, want) {
					t.Errorf("%v does not say %q:\n%s", args, want, stderr)
				}
			}
		}
		if diff := cmp.Diff(before, h.content()); diff != "" {
			t.Errorf("something changed:\n%s", diff)
		}
		stdout, stderr := h.must(exitDamage, "pack", "--keep", "0", "--skip-broken", "HOME")
		if !strings.Contains(stdout, "cannot be read: object 0000000000000001: ") || !strings.Contains(stderr, "cannot be read: 1 object") {
			t.Errorf("it says:\n%s%s", stdout, stderr)
		}
		if !strings.Contains(stdout, "removed 0 objects, 2 revisions,") { // of the root object; 1 is left alone, and so are the unreached ones
			t.Errorf("it says:\n%s", stdout)
		}
		var r zodb.PackResult
		h.json(exitDamage, &r, "gc", "--report", "--keep", "0", "--skip-broken", "HOME")
		if r.Broken != 1 || len(r.BrokenList) != 1 || r.BrokenList[0].OID != 1 || r.Objects != 0 {
			t.Errorf("the report says %+v", r)
		}
	}
	inBundles(t, nil, test)
	inFiles(t, nil, test)
}

// TestBrokenObjectThatNothingRefersToIsLeftAlone also without --skip-broken.
func TestBrokenObjectThatNothingRefersToIsLeftAlone(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, h *packHome) {
		damage(t, h.writeAlone(5, packData("Gone", "six")), 40)
		stdout, stderr := h.must(exitDamage, "pack", "--keep", "0", "HOME")
		if !strings.Contains(stdout, "removed 3 objects, 8 revisions,") || !strings.Contains(stdout, "cannot be read: object 0000000000000005: ") {
			t.Errorf("it says:\n%s%s", stdout, stderr)
		}
		h.must(exitDamage, "check", "HOME")
	}
	inBundles(t, nil, test)
	inFiles(t, nil, test)
}

// TestPackOfACutBundleRemovesNothing: a bundle that was cut off has no index.
func TestPackOfACutBundleRemovesNothing(t *testing.T) {
	t.Parallel()
	inBundles(t, nil, func(t *testing.T, h *packHome) {
		path := h.writeAlone(5, packData("Gone", "six"))
		if err := os.Truncate(path, 90); err != nil {
			t.Fatal(err)
		}
		before := h.content()
		_, stderr := h.must(exitDamage, "pack", "--keep", "0", "HOME")
		if strings.Count(stderr, "corrupt data in A/bundles/"+filepath.Base(path)) != 1 || !strings.Contains(stderr, "hint: nothing was removed; dirstorage check "+h.home) {
			t.Errorf("it says:\n%s", stderr)
		}
		if diff := cmp.Diff(before, h.content()); diff != "" {
			t.Errorf("something changed:\n%s", diff)
		}
		h.must(exitDamage, "check", "HOME")
	})
}

func TestMinimalStorageIsNotPacked(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	if err := engine.Create(home, engine.CreateOptions{Class: zodb.ClassMinimal}); err != nil {
		t.Fatal(err)
	}
	h := &packHome{t: t, home: home}
	for _, how := range []string{"stopped", "running"} {
		if how == "running" {
			h.start(nil)
		}
		for _, args := range [][]string{{"pack", "HOME"}, {"pack", "--undelete", "all", "HOME"}, {"gc", "--report", "HOME"}} {
			if _, stderr := h.must(exitFailed, args...); !strings.Contains(stderr, "class Minimal") {
				t.Errorf("%s: %v says %s", how, args, stderr)
			}
		}
	}
}

func TestEmptyStorageHasNothingToPack(t *testing.T) {
	t.Parallel()
	h := &packHome{t: t, home: filepath.Join(t.TempDir(), "home")}
	if err := engine.Create(h.home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if stdout, _ := h.must(exitOK, "pack", "HOME"); !strings.Contains(stdout, "there is nothing to pack") {
		t.Errorf("it says %s", stdout)
	}
}

// lose makes so many objects that nothing refers to.
func (h *packHome) lose(n int) {
	h.t.Helper()
	h.start(nil)
	oids, err := h.s.NewOIDs(n)
	if err != nil {
		h.t.Fatal(err)
	}
	for len(oids) > 0 {
		records := make(map[zodb.OID][]byte)
		for range min(500, len(oids)) {
			records[oids[0]] = packData("Lost", "many")
			oids = oids[1:]
		}
		h.commit(records)
	}
	h.commit(map[zodb.OID][]byte{0: packData("Root", "last", 1)})
	h.stop()
}

// TestInterruptedPackSaysSo stops the command when the pack begins to remove.
func TestInterruptedPackSaysSo(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, h *packHome, files bool) {
		running := h.s != nil
		h.stop()
		h.lose(1200)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		log := &lockedBuffer{seen: func(text string) {
			if strings.Contains(text, `phase="removing objects"`) {
				cancel()
			}
		}}
		e := &env{}
		if running {
			h.start(log)
		} else {
			e.Stderr = log
		}
		code, stdout, stderr := h.runIn(ctx, e, "-v", "pack", "--keep", "0", "HOME")
		// In bundles all that goes is in memory at once, and the pack of a running storage may be over.
		over := code == exitOK && running && !files && strings.HasPrefix(stdout, "packed to ")
		if !over && (code != exitInterrupted || stdout != "" && !strings.HasPrefix(stdout, "ended while it packed to ") || !strings.Contains(stderr, "hint: nothing that is needed was removed, and the storage is sound")) {
			t.Errorf("exit status %d, it says:\n%s%s", code, stdout, stderr)
		}
		if running {
			if err := h.s.WaitPack(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		h.must(exitOK, "check", "HOME")
		if _, err := os.Stat(filepath.Join(h.home, "misc", "pack")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the plan is still there: %v", err)
		}
		h.must(exitOK, "pack", "--keep", "0", "HOME")
		h.clean()
		if stdout, _ := h.must(exitOK, "status", "--count", "HOME"); !strings.Contains(stdout, " 2 objects, ") {
			t.Errorf("status says:\n%s", stdout)
		}
	}
	inBundles(t, nil, func(t *testing.T, h *packHome) { test(t, h, false) })
	inFiles(t, nil, func(t *testing.T, h *packHome) { test(t, h, true) })
}

// TestInterruptedPackNamesTheWayBack stops the command when the objects are removed
// and the transactions are not: snapshot mode keeps these.
func TestInterruptedPackNamesTheWayBack(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"text", "json"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			both(t, nil, func(t *testing.T, h *packHome) {
				h.flushed()
				before := h.asItIs()
				code, stdout, stderr := h.interruptedBefore("removing transactions", "pack", "--keep", "0", "--json="+strconv.FormatBool(form == "json"), "HOME")
				if code != exitInterrupted || !strings.Contains(stderr, "hint: nothing that is needed was removed") {
					t.Errorf("exit status %d, it says:\n%s", code, stderr)
				}
				h.isTheWayBack(stdout, form, before)
			})
		})
	}
}

// interruptedBefore runs a command and interrupts it when a phase begins that
// snapshot mode keeps from doing anything.
func (h *packHome) interruptedBefore(phase string, args ...string) (code int, stdout, stderr string) {
	h.t.Helper()
	running := h.s != nil
	h.stop()
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	// The reader of a line holds up the log, and with it the next one that logs.
	held := make(chan *control.Client, 1)
	var snapshot sync.WaitGroup
	holding := false
	log := &lockedBuffer{seen: func(text string) {
		switch {
		case ctx.Err() == nil && strings.Contains(text, `phase="`+phase+`"`):
			holding = true
			snapshot.Go(func() { held <- h.holdSnapshot() })
			h.await("misc/snapshot", "user/test")
			cancel()
		case holding && (strings.Contains(text, "pack ended") || strings.Contains(text, "msg=packed") || strings.Contains(text, "undelete ended") || strings.Contains(text, "msg=undeleted")):
			holding = false
			snapshot.Go(func() {
				if c := <-held; c != nil {
					c.Close()
				}
			})
		}
	}}
	e := &env{}
	if running {
		h.start(log)
	} else {
		e.Stderr = log
	}
	code, stdout, stderr = h.runIn(ctx, e, append([]string{"-v"}, args...)...)
	snapshot.Wait()
	return code, stdout, stderr
}

// holdSnapshot has the storage that is open enter snapshot mode, until the client
// that is returned is closed.
func (h *packHome) holdSnapshot() *control.Client {
	c, err := control.Dial(h.t.Context(), h.home)
	if err == nil {
		err = c.Enter(h.t.Context(), "test", true)
	}
	if err != nil {
		h.t.Error(err)
	}
	return c
}

// await waits until a file begins with a text.
func (h *packHome) await(name, text string) {
	for range 30_000 {
		if b, err := os.ReadFile(filepath.Join(h.home, name)); err == nil && bytes.HasPrefix(b, []byte(text)) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	h.t.Errorf("%s does not become %s", name, text)
}

// isTheWayBack goes the way that a pack names that has removed objects only.
func (h *packHome) isTheWayBack(stdout, form string, before packBefore) {
	h.t.Helper()
	stamp := ""
	if form == "json" {
		var r zodb.PackResult
		if err := json.Unmarshal([]byte(stdout), &r); err != nil || r.Objects != 4 || r.Revisions != 8 || r.Transactions != 0 || r.Blobs != 1 {
			h.t.Fatalf("%v, it says:\n%s", err, stdout)
		}
		stamp = strconv.FormatInt(r.Stamp, 10)
	} else {
		m := regexp.MustCompile(`(?s)^ended while it packed to .*\nremoved 4 objects, 8 revisions, 0 transactions, 1 blob; .* --undelete (\d+) `).FindStringSubmatch(stdout)
		if m == nil {
			h.t.Fatalf("it says:\n%s", stdout)
		}
		stamp = m[1]
	}
	if stdout, _ := h.must(exitOK, "pack", "--undelete", stamp, "HOME"); stdout != "brought back 4 objects, 8 revisions, 0 transactions, 1 blob\n" {
		h.t.Errorf("it says %q", stdout)
	}
	h.isAsBefore(before)
	h.clean()
}

// TestKilledPackIsFinishedByRecover kills a pack hard at different moments.
func TestKilledPackIsFinishedByRecover(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	rounds := 3
	if testing.Short() {
		rounds = 2
	}
	for n, format := range []layout.Format{layout.Bundled, layout.Chunky, layout.Bundled, layout.Chunky}[:2*min(2, rounds-1)] {
		delay := []string{"864000", "0"}[n/2]
		original := newPackHomeOf(t, format, "storage.delay_delete="+delay)
		original.lose(800)
		inTime, resumed := 0, 0
		for round, more := 0, true; more; round++ {
			more = round < rounds-1 || resumed == 0 && round < 50 // a list of gone members is soon written
			h := original                                         // the last, which goes on with its plan; a copy gives it up
			if more {
				h = &packHome{t: t, home: filepath.Join(t.TempDir(), "home")}
				if err := os.CopyFS(h.home, os.DirFS(original.home)); err != nil {
					t.Fatal(err)
				}
			}
			plan := filepath.Join(h.home, "misc", "pack")
			cmd := program(t, "pack", "--keep", "0", h.home)
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			var end error
			over := false
			for !over && round > 0 {
				if _, err := os.Stat(plan); err == nil {
					break
				}
				select {
				case end = <-ended:
					over = true
				case <-time.After(200 * time.Microsecond):
				}
			}
			if !over {
				time.Sleep(time.Duration(rnd.Int64N(int64(1+round*2%5)*int64(time.Millisecond) + 1)))
				cmd.Process.Kill()
				end = <-ended
			}
			if killed(end) {
				inTime++
			} else if end != nil {
				t.Fatalf("%v: %s", end, &said)
			}
			if _, err := os.Stat(plan); err == nil {
				resumed++
			}
			h.must(exitOK, "check", "HOME")
			h.must(exitOK, "recover", "HOME")
			for _, name := range []string{"pack", "pack-spared"} {
				if _, err := os.Stat(filepath.Join(h.home, "misc", name)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("after recover misc/%s is still there: %v", name, err)
				}
			}
			h.must(exitOK, "check", "HOME")
			h.must(exitOK, "pack", "--keep", "0", "HOME")
			h.clean()
			if stdout, _ := h.must(exitOK, "status", "--count", "HOME"); !strings.Contains(stdout, " 2 objects, 2 revisions, 2 transactions;") {
				t.Errorf("status says:\n%s", stdout)
			}
		}
		t.Logf("%s, delay_delete %s: %d were killed, %d while they removed", format, delay, inTime, resumed)
		if inTime == 0 || resumed == 0 {
			t.Errorf("%s, delay_delete %s: %d were killed, %d while they removed", format, delay, inTime, resumed)
		}
	}
}

// TestPackShowsHowFarItIs lets the pack wait for a transaction.
func TestPackShowsHowFarItIs(t *testing.T) {
	t.Parallel()
	h := newPackHome(t)
	h.start(nil)
	txn := h.begin(map[zodb.OID][]byte{0: packData("Root", "at last", 1)})
	shown := make(chan struct{})
	var once sync.Once
	terminal := &lockedBuffer{seen: func(text string) {
		if strings.HasPrefix(text, "\rwaiting for transactions: ") {
			once.Do(func() { close(shown) })
		}
	}}
	var wait sync.WaitGroup
	wait.Go(func() {
		code, stdout, stderr := h.runIn(t.Context(), &env{Stderr: terminal, Terminal: true}, "pack", "--keep", "0", "HOME")
		if code != exitOK || !strings.Contains(stdout, "\nremoved ") {
			t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
		}
		if !strings.HasSuffix(stderr, "\r"+eraseToEnd) {
			t.Errorf("the line stays: %q", stderr)
		}
	})
	wait.Go(func() { // beside it, without a terminal
		if code, _, stderr := h.run("pack", "--keep", "0", "HOME"); code != exitOK || stderr != "" {
			t.Errorf("exit status %d: %s", code, stderr)
		}
	})
	select {
	case <-shown:
		if stdout, _ := h.must(exitOK, "status", "HOME"); !regexp.MustCompile(`\npack: +waiting for transactions, 0 done, since \d{4}-`).MatchString(stdout) {
			t.Errorf("status says:\n%s", stdout)
		}
		var st zodb.Status
		h.json(exitOK, &st, "status", "HOME")
		if st.Pack == nil || st.Pack.Phase != "waiting for transactions" || st.Pack.Begun.IsZero() {
			t.Errorf("status --json says %+v", st.Pack)
		}
	case <-time.After(5 * time.Minute):
		t.Error("no line comes")
	}
	if _, err := txn.Finish(t.Context(), nil); err != nil {
		t.Error(err)
	}
	wait.Wait()
	if stdout, _ := h.must(exitOK, "status", "HOME"); strings.Contains(stdout, "\npack:") {
		t.Errorf("status says:\n%s", stdout)
	}
	h.clean()
}

func TestPackOfAStoppedStorageShowsHowFarItIs(t *testing.T) {
	t.Parallel()
	h := newPackHome(t)
	shown := make(chan struct{})
	var once sync.Once
	terminal := &lockedBuffer{seen: func(text string) {
		switch {
		case strings.HasPrefix(text, "\rmarking: 0"):
			once.Do(func() { close(shown) })
		case strings.Contains(text, "phase=marking"): // the pack says it, and goes on only then
			select {
			case <-shown:
			case <-time.After(5 * time.Minute):
			}
		}
	}}
	code, _, stderr := h.runIn(t.Context(), &env{Stderr: terminal, Terminal: true}, "-v", "pack", "--keep", "0", "HOME")
	if code != exitOK || !strings.Contains(stderr, "\rmarking: 0") {
		t.Errorf("exit status %d\n%s", code, stderr)
	}
}

// TestFilesSinceAcrossPacks keeps a mirror of A by the lists of files --since, while
// the storage is changed and packed: all that the storage has the mirror has. Where a
// pack removed transactions of which revisions stay, it is told to copy everything.
func TestFilesSinceAcrossPacks(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"detailed", "undoable"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			h := newPackHome(t, "storage.keep_policy="+policy, "storage.delay_delete=0")
			mirror := filepath.Join(t.TempDir(), "mirror")
			// The last transaction before each copy writes an object that nobody changes
			// again, so that no pack takes it: it is the one that --since names.
			stays := func(i int) { h.commit(map[zodb.OID][]byte{zodb.OID(10 + i): packData("Kept", "stays")}) }
			h.start(nil)
			stays(0)
			h.stop()
			for _, dir := range []string{"A", "config"} {
				if err := os.CopyFS(filepath.Join(mirror, dir), os.DirFS(filepath.Join(h.home, dir))); err != nil {
					t.Fatal(err)
				}
			}
			since := h.tids[len(h.tids)-1]
			for i := range 3 {
				h.start(nil)
				for j := range 4 {
					h.commit(map[zodb.OID][]byte{1: packData("Kept", fmt.Sprint("change ", i, j)), zodb.OID(6 + i): packData("Kept", fmt.Sprint("new ", j))})
					h.commit(map[zodb.OID][]byte{0: packData("Root", fmt.Sprint("root ", i, j), 1)})
				}
				stays(1 + i)
				h.stop()
				h.must(0, "pack", "--keep", h.tids[len(h.tids)-2].String(), "--gc=off", h.home)
				if policy == "undoable" {
					_, stderr := h.must(1, "files", "--since", since.String(), h.home)
					if !strings.Contains(stderr, "copy everything") {
						t.Errorf("stderr: %s", stderr)
					}
					return
				}
				stdout, _ := h.must(0, "files", "--since", since.String(), h.home)
				for name := range strings.Lines(stdout) {
					name = strings.TrimSpace(name)
					b, err := os.ReadFile(filepath.Join(h.home, name))
					if err == nil {
						err = os.MkdirAll(filepath.Dir(filepath.Join(mirror, name)), 0o777)
					}
					if err == nil {
						err = os.WriteFile(filepath.Join(mirror, name), b, 0o666)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				since = h.tids[len(h.tids)-1]
				if _, err := os.Stat(filepath.Join(mirror, "misc")); err == nil {
					t.Error("misc was copied")
				}
				h.must(0, "check", mirror)
				want, err := engine.Open(t.Context(), h.home, engine.Options{ReadOnly: true})
				if err != nil {
					t.Fatal(err)
				}
				got, err := engine.Open(t.Context(), mirror, engine.Options{ReadOnly: true})
				if err != nil {
					t.Fatal(err)
				}
				for oid := range zodb.OID(14) {
					a, errA := want.Load(t.Context(), oid)
					b, errB := got.Load(t.Context(), oid)
					if (errA == nil) != (errB == nil) || a.Serial != b.Serial || !bytes.Equal(a.Data, b.Data) {
						t.Errorf("round %d: object %s: %s, %v; want %s, %v", i, oid, b.Serial, errB, a.Serial, errA)
					}
				}
				if err := errors.Join(want.Close(), got.Close()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
