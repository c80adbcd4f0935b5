package classic_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestFileWithBothNamesIsMoved: a power cut in a recombination may leave a file with
// its name in B and that in A; rename(2) of one over the other does nothing. A file put
// into A after that must not be replaced by that of B.
func TestFileWithBothNamesIsMoved(t *testing.T) {
	t.Parallel()
	for _, format := range layout.Formats() {
		tr, f, _ := newTree(t, format)
		revision, pointer := layout.Revision(1, 5), layout.Pointer(1)
		for _, n := range []layout.Name{revision, pointer} {
			put(t, tr, store.B, n, "of B")
			if err := errors.Join(tr.MakeDirs(path.Dir(tr.Path(store.A, n))), f.Link(tr.Path(store.B, n), tr.Path(store.A, n))); err != nil {
				t.Fatal(err)
			}
		}
		if _, empty, err := tr.Thaw(10); !empty || err != nil {
			t.Fatalf("%s: empty %t, %v", format, empty, err)
		}
		for name, err := range vfs.Walk(f, "B") {
			t.Errorf("%s: %s is left in B, %v", format, name, err)
		}
		r := tr.NewRedo(store.A, 1)
		if err := errors.Join(r.Replace(pointer, []byte("newer")), r.Sync()); err != nil {
			t.Fatal(err)
		}
		tr.UseB()
		if _, _, err := tr.Thaw(10); err != nil {
			t.Fatal(err)
		}
		if got := content(f, tr.Path(store.A, pointer)); got != "newer" {
			t.Errorf("%s: the pointer is %q, want the newer one", format, got)
		}
	}
}

// TestRecombinationIsWholeInEveryCrash: before each operation, and with any part that a
// power cut may keep, each file is in B or in A.
func TestRecombinationIsWholeInEveryCrash(t *testing.T) {
	t.Parallel()
	const files = 6
	want := func(n int) (layout.Name, string) {
		if n%2 == 0 {
			return layout.Revision(zodb.OID(n), 5), fmt.Sprint("revision ", n)
		}
		return layout.Pointer(zodb.OID(n)), fmt.Sprint("pointer ", n)
	}
	ops := faulttest.Sampled(t, hometest.OneOf(1, 1, 3), hometest.Phase(t), func(at faulttest.Nth, n int) (log []string, came bool) {
		tr, _, disk := newCrashTree(t)
		for i := range files {
			name, data := want(i)
			if i == 1 { // it replaces an older one
				put(t, tr, store.A, name, "older")
			}
			put(t, tr, store.B, name, data)
		}
		if err := disk.SyncAll(); err != nil {
			t.Fatal(err)
		}
		begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
		_, empty, err := tr.Thaw(4)
		if err == nil && !empty {
			_, empty, err = tr.Thaw(4)
		}
		if log, came = disk.Log()[begun:], cut.Load(); came == (err == nil && empty) {
			t.Fatalf("crash before %v, which came %t: empty %t, %v", at, came, empty, err)
		}
		for i := range uint32(20) {
			seed := uint32(n)*20 + i
			after := disk.Crashed(crashfs.Random(seed))
			next := openTree(t, after)
			for i := range files {
				name, data := want(i)
				if got, where, gerr := next.Get(name); gerr != nil || string(got) != data {
					t.Fatalf("crash before %v, seed %d: %s is %q, %v", at, seed, where, got, gerr)
				}
			}
			for whole := false; !whole; {
				var rerr error
				if _, whole, rerr = next.Thaw(4); rerr != nil {
					t.Fatalf("crash before %v, seed %d: again: %v", at, seed, rerr)
				}
			}
			for i := range files {
				name, data := want(i)
				if got := content(after, next.Path(store.A, name)); got != data {
					t.Fatalf("crash before %v, seed %d: in A %s is %q in the end", at, seed, name, got)
				}
			}
		}
		return log, came
	})
	if ops < 20 {
		t.Errorf("only %d operations", ops)
	}
}

// TestMoveThatFailedForgetsWhatItWouldRemove: a flush may put something newer under
// a name in B that a recombination has moved and could not remove.
func TestMoveThatFailedForgetsWhatItWouldRemove(t *testing.T) {
	t.Parallel()
	tr, f, _ := newCrashTree(t)
	pointer := layout.Pointer(1)
	put(t, tr, store.B, pointer, "old")
	put(t, tr, store.B, layout.Revision(1, 5), "revision")
	came := fail(f, "remove", "B/", syscall.ENOSPC)
	if _, _, err := tr.Thaw(10); !errors.Is(err, syscall.ENOSPC) || !*came {
		t.Fatalf("recombine: %v", err)
	}
	f.Decide(nil)
	r := tr.NewRedo(store.B, 1)
	if err := errors.Join(r.Replace(pointer, []byte("new")), r.Sync()); err != nil {
		t.Fatal(err)
	}
	if got, where, err := tr.Get(pointer); err != nil || string(got) != "new" {
		t.Errorf("%s is %q, %v", where, got, err)
	}
	if _, empty, err := tr.Thaw(10); !empty || err != nil {
		t.Fatalf("empty %t, %v", empty, err)
	}
	if got := content(f, tr.Path(store.A, pointer)); got != "new" {
		t.Errorf("in A it is %q", got)
	}
}

// TestMoveWithoutLinks: a file system, or a rule about who may link, may refuse.
func TestMoveWithoutLinks(t *testing.T) {
	t.Parallel()
	tr, f, _ := newCrashTree(t)
	n := layout.Revision(1, 5)
	put(t, tr, store.B, n, "of B")
	came := fail(f, "link", "", syscall.EPERM)
	if _, empty, err := tr.Thaw(10); !empty || err != nil || !*came {
		t.Fatalf("empty %t, %v", empty, err)
	}
	if _, err := f.Stat(tr.Path(store.B, n)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in B: %v", err)
	}
	if got := content(f, tr.Path(store.A, n)); got != "of B" {
		t.Errorf("in A it is %q", got)
	}
}

// TestPutAsideThatFailedForgetsWhatItWouldRemove: a client refers to an object again after an error of the pack,
// and a flush puts its pointer. The debt of the pack, to take away the old pointer, is not paid with that one.
func TestPutAsideThatFailedForgetsWhatItWouldRemove(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"stat", "link", "remove", "syncdir"} {
		tr, f, _ := newCrashTree(t)
		for oid := range zodb.OID(3) {
			put(t, tr, store.A, layout.Pointer(oid), "old")
		}
		seen := 0
		f.Decide(func(op errfs.Op) error {
			if op.Kind != kind || !strings.HasPrefix(op.Name, "A/") {
				return nil
			}
			if seen++; seen == 2 || kind == "syncdir" {
				return syscall.ENOSPC
			}
			return nil
		})
		r := tr.NewRemoval(77)
		var err error
		for oid := zodb.OID(0); oid < 3 && err == nil; oid++ {
			_, _, err = r.Remove(layout.Pointer(oid))
		}
		if err == nil {
			err = r.Sync()
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%s: %v", kind, err)
		}
		f.Decide(nil)
		b := tr.NewRedo(store.A, 3)
		for oid := range zodb.OID(3) {
			if err := b.Replace(layout.Pointer(oid), []byte("new")); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(b.Sync(), tr.Sync()); err != nil {
			t.Fatal(err)
		}
		for oid := range zodb.OID(3) {
			if got := content(f, tr.Path(store.A, layout.Pointer(oid))); got != "new" {
				t.Errorf("%s: pointer %d is %q", kind, oid, got)
			}
		}
		if got := content(f, tr.Deleted(layout.Pointer(0), 77)); got != "old" {
			t.Errorf("%s: put aside is %q", kind, got)
		}
	}
}

// TestABlobThatIsPutAsideCountsOnce: a step of a pack that failed is repeated, and finds its blobs again.
func TestABlobThatIsPutAsideCountsOnce(t *testing.T) {
	t.Parallel()
	for _, stamp := range []int64{0, 77} {
		for _, kind := range []string{"link", "remove", "syncdir"} {
			tr, f, _ := newCrashTree(t)
			what := store.Removal{Revisions: []store.Revisions{{OID: 1, TIDs: []zodb.TID{5, 6, 7}}}}
			for _, tid := range what.Revisions[0].TIDs {
				put(t, tr, store.A, layout.Revision(1, tid), "revision")
				put(t, tr, store.A, layout.Blob(1, tid), "blob")
			}
			blobs := 0
			f.Decide(func(op errfs.Op) error {
				if strings.Contains(op.Name, "blob") {
					blobs++
				}
				if op.Kind == kind && (blobs >= 2) {
					return syscall.ENOSPC
				}
				return nil
			})
			first, err := tr.Remove(stamp, what)
			f.Decide(nil)
			if failed := stamp != 0 || kind != "link"; failed != errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("%s, stamp %d: %v", kind, stamp, err)
			}
			again, err := tr.Remove(stamp, what)
			if n := first.Blobs + again.Blobs; n != 3 || first.BlobBytes+again.BlobBytes != 12 || err != nil {
				t.Errorf("%s, stamp %d: %d + %d blobs, %v", kind, stamp, first.Blobs, again.Blobs, err)
			}
		}
	}
}

// TestPutAsideWithoutLinks: where a file has one name only, it is renamed.
func TestPutAsideWithoutLinks(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.EPERM, syscall.EOPNOTSUPP, syscall.EMLINK} {
		tr, f, disk := newCrashTree(t)
		n := layout.Revision(1, 5)
		put(t, tr, store.A, n, "revision")
		f.Decide(func(op errfs.Op) error {
			if op.Kind == "link" {
				return cause
			}
			return nil
		})
		r := tr.NewRemoval(77)
		if _, removed, err := r.Remove(n); !removed || err != nil {
			t.Fatalf("%v: removed %t, %v", cause, removed, err)
		}
		if err := r.Sync(); err != nil {
			t.Fatalf("%v: %v", cause, err)
		}
		after := disk.Crashed(crashfs.KeepNone)
		if got, aside := content(after, tr.Path(store.A, n)), content(after, tr.Deleted(n, 77)); got != "none" || aside != "revision" {
			t.Errorf("%v: it is %q, put aside %q", cause, got, aside)
		}
	}
}

// TestFileIsPutAsideOverItself: a power cut may bring back the name of a file that a pack
// put aside.
func TestFileIsPutAsideOverItself(t *testing.T) {
	t.Parallel()
	tr, f, _ := newTree(t, layout.Chunky)
	n := layout.Revision(1, 5)
	put(t, tr, store.A, n, "revision")
	if err := f.Link(tr.Path(store.A, n), tr.Deleted(n, 77)); err != nil {
		t.Fatal(err)
	}
	r := tr.NewRemoval(77)
	if _, removed, err := r.Remove(n); !removed || err != nil {
		t.Fatalf("removed %t, %v", removed, err)
	}
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Stat(tr.Path(store.A, n)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if got := content(f, tr.Deleted(n, 77)); got != "revision" {
		t.Errorf("put aside is %q", got)
	}
}
