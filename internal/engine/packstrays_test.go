package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestNextPackRepairsWhatAPackWithoutItsPlanLeft crashes in a pack, after which its plan is given
// up, as in a copy of HOME. The verdict of check on the rest has to come true: the next pack
// removes it, and nothing else.
func TestNextPackRepairsWhatAPackWithoutItsPlanLeft(t *testing.T) {
	t.Parallel()
	every := hometest.OneOf(1, 29, 37)
	for i, format := range layout.Formats() {
		set := "storage.min_pack_time=0"
		if i%2 == 1 {
			set += " storage.delay_delete=0"
		}
		c := packCase{format: format, seed: uint64(i) + 700, set: set}
		t.Run(fmt.Sprintf("seed %d %s", c.seed, c.format), func(t *testing.T) {
			t.Parallel()
			log, _, _ := c.packWithoutPlan(t, faulttest.Nth{}, 0)
			ops, runs := len(log), faulttest.NewRuns(log)
			left, found := 0, comings{}
			for n := range faulttest.Sample(ops, every, c.seed, hometest.Phase(t)) {
				if t.Failed() {
					return
				}
				_, crashed, notes := c.packWithoutPlan(t, runs.Nth(0, n), n)
				left += notes
				found.count(crashed)
			}
			found.want(t)
			for n := 1; left == 0 && n <= ops; n++ { // a sample may miss it
				_, _, left = c.packWithoutPlan(t, runs.Nth(0, n), n)
			}
			if left == 0 {
				t.Errorf("no crash at %d operations left anything", ops)
			}
		})
	}
}

// packWithoutPlan crashes before an operation of a pack, the n-th one of another run (0: not at all), loses its plan
// and packs again. It returns the operations that there were, whether that one came, and of how many files check
// said that an interrupted pack left them.
func (c packCase) packWithoutPlan(t *testing.T, at faulttest.Nth, n int) (log []string, came bool, notes int) {
	t.Helper()
	f := crashfs.New(int64(c.seed))
	if err := c.home(f); err != nil {
		t.Fatal(err)
	}
	s, m, err := c.filled(t.Context(), c.options(f), 24)
	if err != nil {
		t.Fatal(err)
	}
	o := zodb.PackOptions{Time: m.txns[18].tid.Time()}
	begun := f.Ops()
	if n > 0 {
		f.CrashBefore(at.Is())
	}
	_, err = s.Pack(t.Context(), o)
	log = f.Log()[begun:]
	came = errors.Is(err, crashfs.ErrCrashed)
	if err = errors.Join(err, s.Close()); n == 0 && err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		return log, false, 0
	}
	for _, mode := range []crashfs.Mode{crashfs.KeepAll, crashfs.Random(uint32(n))} {
		left, err := c.packedAnew(t.Context(), f.Crashed(mode), o, m)
		if err != nil {
			t.Errorf("crash before %v of a pack, %v: %v", at, mode, err)
		}
		notes += left
	}
	return log, came, notes
}

// packedAnew loses the plan of a pack that a crash has interrupted, and packs.
func (c packCase) packedAnew(ctx context.Context, f *crashfs.FS, o zodb.PackOptions, m *packModel) (left int, err error) {
	for _, name := range []string{planFile, planFile + "-spared"} {
		if err := f.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	before, err := leftByPacks(ctx, f)
	if err != nil {
		return 0, err
	}
	s, err := Open(ctx, "", c.optionsAfter(f, m))
	if err != nil {
		return 0, err
	}
	_, err = s.Pack(ctx, o)
	if err = errors.Join(err, s.Close()); err != nil {
		return 0, err
	}
	if err := sound(ctx, f, false); err != nil {
		return 0, err
	}
	after, err := leftByPacks(ctx, f)
	if err == nil && len(after) > 0 {
		err = fmt.Errorf("the next pack left:\n%s", strings.Join(after, "\n"))
	}
	return len(before), err
}

// leftByPacks returns the files of which check says that an interrupted pack left them.
func leftByPacks(ctx context.Context, f vfs.FS) (found []string, err error) {
	_, err = check.Run(ctx, check.Options{FS: f, Workers: 1}, func(f check.Finding) {
		if strings.Contains(f.Detail, "interrupted pack") {
			found = append(found, fmt.Sprintf("%s %s %s", f.Kind, f.Path, f.Detail))
		}
	})
	return found, err
}

// TestBlobOfALostRevisionStays: a loss that the last pack does not explain is damage, and the blob
// is its only trace.
func TestBlobOfALostRevisionStays(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	oids := newOIDs(t, s, 3)
	commit(t, s, change{oid: 0, data: rec("root", oids...)},
		change{oid: oids[0], data: rec("a"), blob: "current"}, change{oid: oids[1], data: rec("b"), blob: "replaced"}, change{oid: oids[2], data: rec("c")})
	first := s.LastTransaction()
	commit(t, s, change{oid: oids[1], data: rec("b2"), blob: "newer"})
	commit(t, s, change{oid: 0, data: rec("root again", oids...)})
	commit(t, s, change{oid: 0, data: rec("and again", oids...)})
	doPack(t, s, zodb.PackOptions{})
	if err := s.home.FS.Remove(pathOf(s, "A", layout.Revision(oids[0], first))); err != nil {
		t.Fatal(err)
	}
	doPack(t, s, zodb.PackOptions{SkipBroken: true})
	if _, err := s.home.FS.Stat(pathOf(s, "A", layout.Blob(oids[0], first))); err != nil {
		t.Errorf("the blob of a current revision that is lost: %v", err)
	}
	if _, err := s.home.FS.Stat(pathOf(s, "A", layout.Blob(oids[1], first))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a blob that was replaced: %v", err)
	}
}

// TestBlobOfALostRevisionThatIsKeptStays: with a line in keepclass no pack has removed replaced
// revisions, so the blob is the rest of a lost one.
func TestBlobOfALostRevisionThatIsKeptStays(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{}, "keepclass.persistent.mapping.PersistentMapping=forever")
	commit(t, s, change{oid: 0, data: rec("root", 1)}, change{oid: 1, data: rec("a"), blob: "kept"})
	first := s.LastTransaction()
	commit(t, s, change{oid: 1, data: rec("b"), blob: "newer"})
	commit(t, s, change{oid: 0, data: rec("root again", 1)})
	doPack(t, s, zodb.PackOptions{})
	if err := s.home.FS.Remove(pathOf(s, "A", layout.Revision(1, first))); err != nil {
		t.Fatal(err)
	}
	doPack(t, s, zodb.PackOptions{})
	if _, err := s.home.FS.Stat(pathOf(s, "A", layout.Blob(1, first))); err != nil {
		t.Errorf("the blob of a revision that every pack keeps: %v", err)
	}
}

// TestPackRemovesBlobsWithoutRevision: a pack removes revisions before their blobs, and its plan
// may be given up between the two, beside a copy of A for one.
func TestPackRemovesBlobsWithoutRevision(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	commit(t, s, change{oid: 0, data: rec("root", 1)}, change{oid: 1, data: rec("stays"), blob: "first"}, change{oid: 2, data: rec("goes"), blob: "two"})
	old := s.LastTransaction()
	commit(t, s, change{oid: 1, data: rec("stays"), blob: "second"})
	commit(t, s, change{oid: 0, data: rec("root", 1, 1)})
	kept := s.LastTransaction()
	doPack(t, s, zodb.PackOptions{})
	blobs := []string{fileOfA(t, s.Home(), layout.Blob(1, old)), fileOfA(t, s.Home(), layout.Blob(2, old))}
	young := fileOfA(t, s.Home(), layout.Blob(0, kept+1)) // no pack explains it
	for _, name := range append(blobs, young) {
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("left"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, s, change{oid: 0, data: rec("root", 1)})
	if r := doPack(t, s, zodb.PackOptions{DryRun: true}); r.Blobs != 2 || r.Bytes < 8 {
		t.Errorf("a dry run finds %d blobs, %d bytes, want 2, of 4 bytes each", r.Blobs, r.Bytes)
	}
	if r := doPack(t, s, zodb.PackOptions{}); r.Blobs != 2 {
		t.Errorf("removed %d blobs, want 2", r.Blobs)
	}
	for _, name := range blobs {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}
