package classic_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// newTree returns the tree of a directory that looks like a HOME, and its clock.
func newTree(t *testing.T, format layout.Format) (*classic.Store, vfs.FS, *atomic.Int64) {
	t.Helper()
	f, err := vfs.OS(filepath.Join(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"A", "B", "journal", "misc"} {
		if err := f.Mkdir(d); err != nil {
			t.Fatal(err)
		}
	}
	var offset atomic.Int64
	tr, err := classic.New(classic.Options{FS: f, Format: format, Sync: true, DirSync: true,
		Clock: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	return tr, f, &offset
}

func put(t *testing.T, tr *classic.Store, side store.Side, n layout.Name, data string) {
	t.Helper()
	if n == layout.XSerial {
		if err := tr.SetMark(side, n, []byte(data)); err != nil {
			t.Fatal(err)
		}
		return
	}
	b := tr.NewRedo(side, 1)
	if err := errors.Join(b.Create(n, []byte(data)), b.Sync()); err != nil {
		t.Fatal(err)
	}
}

// raiseFloor raises the floor above now.
func raiseFloor(tr *classic.Store) error {
	_, err := tr.RaiseFloor(time.Unix(0, 0))
	return err
}

func modTime(t *testing.T, tr *classic.Store, n layout.Name) time.Time {
	t.Helper()
	info, _, err := tr.FileInfo(n)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime
}

func TestFilesAfterASnapshotLookNewerAlsoWhenTheClockStepsBack(t *testing.T) {
	t.Parallel()
	tr, f, offset := newTree(t, layout.Bushy)
	put(t, tr, store.A, layout.Pointer(1), "before__")
	old := modTime(t, tr, layout.Pointer(1))
	asked := time.Now()
	if err := raiseFloor(tr); err != nil {
		t.Fatal(err)
	}
	offset.Store(int64(-time.Hour))
	put(t, tr, store.B, layout.Pointer(1), "after___")
	put(t, tr, store.B, layout.XSerial, "any____1") // which ends every flush
	if got := modTime(t, tr, layout.Pointer(1)); !got.After(asked) || !got.After(old) {
		t.Errorf("a file put after the snapshot bears %v, the snapshot was asked for at %v", got, asked)
	}
	// Neither a restart nor the move to A takes it back.
	again, err := tr.Again()
	if err != nil {
		t.Fatal(err)
	}
	if err := raiseFloor(again); err != nil {
		t.Fatal(err)
	}
	between := modTime(t, again, layout.Pointer(1))
	if _, empty, err := again.Thaw(100); err != nil || !empty {
		t.Fatal(empty, err)
	}
	if got := modTime(t, again, layout.Pointer(1)); !got.Equal(between) {
		t.Errorf("the move changed the time from %v to %v", between, got)
	}
	// A second change of the same length must differ in its time: rsync looks for that.
	b := again.NewRedo(store.A, 1)
	if err := errors.Join(b.Replace(layout.Pointer(1), []byte("third___")), b.Sync()); err != nil {
		t.Fatal(err)
	}
	if got := modTime(t, again, layout.Pointer(1)); !got.After(between) {
		t.Errorf("a file of the next round bears %v, that of the last %v", got, between)
	}
	staged, err := f.Create("journal/blob-x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := staged.Write([]byte("blob")); err != nil {
		t.Fatal(err)
	}
	staged.Close()
	if err := f.SetModTime("journal/blob-x", time.Now().Add(-24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Adopt(layout.Blob(1, 2), "journal/blob-x", 4), b.Sync()); err != nil {
		t.Fatal(err)
	}
	if got := modTime(t, again, layout.Blob(1, 2)); !got.After(between) {
		t.Errorf("a blob that was staged earlier bears %v", got)
	}
}

func TestRecombineMovesEverythingInSlices(t *testing.T) {
	t.Parallel()
	for _, format := range layout.Formats() {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			tr, f, _ := newTree(t, format)
			put(t, tr, store.A, layout.Pointer(3), "old")
			var names []layout.Name
			for i := range zodb.OID(40) {
				names = append(names, layout.Pointer(i), layout.Revision(i, 77), layout.Transaction(zodb.TID(i)<<40+5))
			}
			for _, n := range names {
				put(t, tr, store.B, n, "new "+n.String())
			}
			steps := 0
			for empty := false; !empty; steps++ {
				for _, n := range names { // readable at every moment
					if b, _, err := tr.Get(n); err != nil || string(b) != "new "+n.String() {
						t.Fatalf("%s: %q, %v", n, b, err)
					}
				}
				moved, e, err := tr.Thaw(7)
				if err != nil || moved > 7 {
					t.Fatalf("moved %d, %v", moved, err)
				}
				empty = e
			}
			if steps < len(names)/7 {
				t.Errorf("done in %d steps", steps)
			}
			if tr.ReadsB() {
				t.Error("B is still read")
			}
			for name, err := range vfs.Walk(f, "B") {
				t.Errorf("left in B: %s, %v", name, err)
			}
			for _, n := range names {
				if b, where, err := tr.Get(n); err != nil || string(b) != "new "+n.String() || where[0] != 'A' {
					t.Errorf("%s: %q in %s, %v", n, b, where, err)
				}
			}
		})
	}
}

func TestForeignNamesInBAreLeftThere(t *testing.T) {
	t.Parallel()
	tr, f, _ := newTree(t, layout.Bushy)
	file, err := f.Create("B/README")
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	put(t, tr, store.B, layout.XSerial, "12345678")
	if moved, empty, err := tr.Thaw(10); moved != 1 || !empty || err != nil {
		t.Errorf("moved %d, empty %v, %v", moved, empty, err)
	}
	if _, err := f.Stat("B/README"); err != nil {
		t.Error(err)
	}
}

func TestInterruptedFlushIsRepeated(t *testing.T) {
	t.Parallel()
	tr, f, _ := newTree(t, layout.Chunky)
	half, err := f.Create("journal/x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := half.Write([]byte("ha")); err != nil {
		t.Fatal(err)
	}
	half.Close()
	n := layout.Revision(5, 6)
	put(t, tr, store.A, layout.Pointer(5), "pointer")
	if err := f.Rename("journal/x", tr.Path(store.A, n)); err != nil {
		t.Fatal(err)
	}
	put(t, tr, store.A, n, "whole")
	if b, _, err := tr.Get(n); err != nil || string(b) != "whole" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestBlobThatIsNowhereIsAnError(t *testing.T) {
	t.Parallel()
	tr, _, _ := newTree(t, layout.Lawn)
	b := tr.NewRedo(store.A, 1)
	if err := b.Adopt(layout.Blob(1, 2), "journal/blob-gone", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	put(t, tr, store.A, layout.Blob(1, 2), "four")
	if err := b.Adopt(layout.Blob(1, 2), "journal/blob-gone", 4); err != nil {
		t.Errorf("moved before: %v", err)
	}
	if err := b.Adopt(layout.Blob(1, 2), "journal/blob-gone", 5); err == nil {
		t.Error("a file of another size was taken for the blob")
	}
}
