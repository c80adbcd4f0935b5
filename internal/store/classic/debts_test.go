package classic_test

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// newCrashTree returns a tree on a disk that can crash and fail.
func newCrashTree(t *testing.T) (*classic.Store, *errfs.FS, *crashfs.FS) {
	t.Helper()
	disk := crashfs.New(1)
	disk.SetClock(slowly())
	for _, d := range []string{"A", "A/x", "B", "journal", "misc"} {
		if err := disk.Mkdir(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.SyncAll(); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	return openTree(t, f), f, disk
}

// slowly is a clock that stays behind the floor for as long as a test takes.
func slowly() func() time.Time {
	var ticks atomic.Int64
	return func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, int(ticks.Add(1)), time.UTC) }
}

func openTree(t *testing.T, f vfs.FS) *classic.Store {
	t.Helper()
	tr, err := classic.New(classic.Options{FS: f, Format: layout.Bushy, Sync: true, DirSync: true, Clock: slowly()})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// fail lets the first operation of a kind fail that concerns a name, and returns
// whether it came.
func fail(f *errfs.FS, kind, prefix string, cause error) (came *bool) {
	came = new(bool)
	f.Decide(func(op errfs.Op) error {
		if !*came && op.Kind == kind && strings.HasPrefix(op.Name, prefix) {
			*came = true
			return cause
		}
		return nil
	})
	return came
}

func content(f vfs.FS, name string) string {
	b, err := f.ReadFile(name)
	if err != nil {
		return "none"
	}
	return string(b)
}

// revisions puts n revisions as a flush does, without a sync.
func revisions(b *classic.Redo, n int) error {
	for i := range n {
		if err := b.Create(layout.Revision(zodb.OID(i), 7), []byte("content")); err != nil {
			return err
		}
	}
	return nil
}

func TestWhatAFailedBatchOwesIsPaidByTheNext(t *testing.T) {
	t.Parallel()
	tr, f, disk := newCrashTree(t)
	n := layout.Pointer(5)
	creates := 0
	f.Decide(func(op errfs.Op) error {
		if op.Kind == "create" {
			if creates++; creates == 2 { // the directories are there then
				return syscall.ENOSPC
			}
		}
		return nil
	})
	if err := tr.NewRedo(store.A, 1).Create(n, []byte("pointer_")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	f.Decide(nil)
	again := tr.NewRedo(store.A, 1)
	if err := errors.Join(again.Create(n, []byte("pointer_")), again.Sync()); err != nil {
		t.Fatal(err)
	}
	if got := content(disk.Crashed(crashfs.KeepNone), tr.Path(store.A, n)); got != "pointer_" {
		t.Errorf("after a power cut: %q", got)
	}
}

// TestWhatFailedAndIsDoneIsPaidByTheNext: an operation may report an error although
// it was done, as over a network or with an error of the disk. A repetition finds it done.
func TestWhatFailedAndIsDoneIsPaidByTheNext(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T) (*classic.Store, *errfs.FS, *crashfs.FS, layout.Name) {
		tr, f, disk := newCrashTree(t)
		n := layout.Transaction(7 << 40)
		b := tr.NewRedo(store.A, 1)
		if err := errors.Join(b.Create(n, []byte("old")), b.Sync()); err != nil {
			t.Fatal(err)
		}
		return tr, f, disk, n
	}
	// done lets the first operation of a kind that concerns a name be done and fail.
	done := func(f *errfs.FS, kind, name string, do func() error) *bool {
		came := new(bool)
		f.Decide(func(op errfs.Op) error {
			if *came || op.Kind != kind || op.Name != name {
				return nil
			}
			if do() != nil {
				return nil // such as a directory above that is still missing
			}
			*came = true
			return syscall.EIO
		})
		return came
	}
	t.Run("rename", func(t *testing.T) {
		t.Parallel()
		tr, f, disk, n := begin(t)
		name := tr.Path(store.A, n)
		came := done(f, "rename", name, func() error { return disk.Rename(classic.AsideFile+"-edit-1", name) })
		e := tr.NewEdit(store.A)
		if err := e.Replace(n, []byte("new")); err != nil {
			t.Fatal(err)
		}
		if err := e.Sync(); !errors.Is(err, syscall.EIO) || !*came {
			t.Fatalf("the first attempt: %v", err)
		}
		f.Decide(nil)
		if got := content(f, name); got != "new" {
			t.Fatalf("it was not done: %q", got)
		}
		again := tr.NewEdit(store.A)
		again.Right(n)
		if err := again.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := content(disk.Crashed(crashfs.KeepNone), name); got != "new" {
			t.Errorf("after a power cut: %q", got)
		}
	})
	t.Run("mkdir", func(t *testing.T) {
		t.Parallel()
		tr, f, disk, _ := begin(t)
		n := layout.Pointer(5)
		name := tr.Path(store.A, n)
		came := done(f, "mkdir", path.Dir(name), func() error { return disk.Mkdir(path.Dir(name)) })
		if err := tr.NewRedo(store.A, 1).Create(n, []byte("pointer_")); !errors.Is(err, syscall.EIO) || !*came {
			t.Fatalf("the first attempt: %v", err)
		}
		f.Decide(nil)
		b := tr.NewRedo(store.A, 1)
		if err := errors.Join(b.Create(n, []byte("pointer_")), b.Sync()); err != nil {
			t.Fatal(err)
		}
		if got := content(disk.Crashed(crashfs.KeepNone), name); got != "pointer_" {
			t.Errorf("after a power cut: %q", got)
		}
	})
}

func TestWhatAKilledProcessOwesIsPaidAtOpen(t *testing.T) {
	t.Parallel()
	for _, all := range []bool{true, false} {
		tr, _, disk := newCrashTree(t)
		n := layout.Pointer(5)
		if err := tr.MakeDirs(path.Dir(tr.Path(store.A, n))); err != nil {
			t.Fatal(err)
		}
		if err := tr.PutMark(store.A, layout.XPacked, []byte("packed__")); err != nil {
			t.Fatal(err)
		}
		next := disk.Killed()
		tr = openTree(t, errfs.New(next, func(op errfs.Op) error {
			if op.Kind == "syncall" && !all {
				return vfs.ErrNotSupported
			}
			return nil
		}))
		if err := tr.SyncFound(); err != nil {
			t.Fatal(err)
		}
		if got := content(next.Crashed(crashfs.KeepNone), "A/x/packed"); got != "packed__" {
			t.Errorf("syncfs %t: x.packed after a power cut: %q", all, got)
		}
		b := tr.NewRedo(store.A, 1)
		if err := errors.Join(b.Create(n, []byte("pointer_")), b.Sync()); err != nil {
			t.Fatal(err)
		}
		if got := content(next.Crashed(crashfs.KeepNone), tr.Path(store.A, n)); got != "pointer_" {
			t.Errorf("syncfs %t: in a directory of the killed process: %q", all, got)
		}
	}
}

// TestRenamesOfAKilledProcessAreDurableBeforeTheyAreReliedOn: a pack and an undelete that go on after a kill
// find nothing to do where the process before had renamed a file.
func TestRenamesOfAKilledProcessAreDurableBeforeTheyAreReliedOn(t *testing.T) {
	t.Parallel()
	for _, all := range []bool{true, false} {
		for _, back := range []bool{true, false} {
			tr, _, disk := newCrashTree(t)
			n := layout.Transaction(7)
			other := layout.Transaction(8)
			b := tr.NewRedo(store.A, 2)
			if err := errors.Join(b.Create(n, []byte("seven")), b.Create(other, []byte("eight")), b.Sync()); err != nil {
				t.Fatal(err)
			}
			r := tr.NewRemoval(5)
			if _, _, err := r.Remove(n); err != nil {
				t.Fatal(err)
			}
			if err := r.Sync(); err != nil {
				t.Fatal(err)
			}
			if back {
				if err := disk.Rename(tr.Deleted(n, 5), tr.Path(store.A, n)); err != nil {
					t.Fatal(err)
				}
			}
			next := disk.Killed()
			tr = openTree(t, errfs.New(next, func(op errfs.Op) error {
				if op.Kind == "syncall" && !all {
					return vfs.ErrNotSupported
				}
				return nil
			}))
			if err := tr.SyncFound(); err != nil {
				t.Fatal(err)
			}
			want := "none"
			if back {
				want = "seven"
				u := tr.BringBack(5)
				if _, err := u.Step(10, func() error { return nil }); err != nil {
					t.Fatal(err)
				}
				u.Close()
			} else {
				for found, err := range tr.Names(t.Context(), layout.KindTransaction) {
					if err != nil || found != other {
						t.Fatalf("%v, %v", found, err)
					}
				}
				if err := tr.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			if got := content(next.Crashed(crashfs.KeepNone), tr.Path(store.A, n)); got != want {
				t.Errorf("syncfs %t, brought back %t: after a power cut %q, want %q", all, back, got, want)
			}
		}
	}
}

func TestFilesOfAFailedSyncAreWrittenAnewBeforeXSerial(t *testing.T) {
	t.Parallel()
	tr, f, disk := newCrashTree(t)
	b := tr.NewRedo(store.A, 30)
	if err := revisions(b, 30); err != nil {
		t.Fatal(err)
	}
	fail(f, "syncall", "", syscall.ENOSPC)
	if err := b.Sync(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := b.Sync(); err != nil {
		t.Fatalf("the second sync, which proves nothing: %v", err)
	}
	if err := tr.SetMark(store.A, layout.XSerial, []byte("serial__")); err == nil {
		t.Error("x.serial was put, although its files may be lost")
	}
	if err := tr.SetMark(store.A, layout.XPacked, []byte("packed__")); err != nil {
		t.Errorf("x.packed, which is not about them: %v", err)
	}
	again := tr.NewRedo(store.A, 30)
	if err := errors.Join(revisions(again, 30), again.Sync(), tr.SetMark(store.A, layout.XSerial, []byte("serial__"))); err != nil {
		t.Fatal(err)
	}
	after := disk.Crashed(crashfs.KeepNone)
	for i := range 30 {
		if got := content(after, tr.Path(store.A, layout.Revision(zodb.OID(i), 7))); got != "content" {
			t.Errorf("revision %d after a power cut: %q", i, got)
		}
	}
}

func TestFailedSyncOfNamesEndsAllWriting(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
		for _, kind := range []string{"syncdir", "syncall"} {
			tr, f, _ := newCrashTree(t)
			b := tr.NewRedo(store.A, 30)
			if kind == "syncdir" {
				b = tr.NewRedo(store.A, 1)
			}
			if err := b.Create(layout.Revision(1, 2), []byte("content")); err != nil {
				t.Fatal(err)
			}
			came := fail(f, kind, "", cause)
			if err := b.Sync(); !errors.Is(err, cause) || !*came {
				t.Fatalf("%s: %v, want %v", kind, err, cause)
			}
			lasting := cause == syscall.EIO
			if err := b.Sync(); (err != nil) != lasting || (tr.Failure() != nil) != lasting {
				t.Errorf("%s after %v: %v, %v", kind, cause, err, tr.Failure())
			}
		}
	}
}

func TestMarksAreRefusedElsewhere(t *testing.T) {
	t.Parallel()
	tr, _, _ := newCrashTree(t)
	for _, n := range []layout.Name{layout.XOID, layout.XSerial, layout.XPacked} {
		b := tr.NewRedo(store.A, 1)
		if b.Create(n, nil) == nil || b.Replace(n, nil) == nil || tr.NewEdit(store.A).Replace(n, nil) == nil {
			t.Errorf("%s was put with other files", n)
		}
	}
	if tr.SetMark(store.A, layout.Pointer(1), nil) == nil {
		t.Error("a pointer was put as a mark")
	}
}

// edited makes an edit of some transactions, one of which is brought back.
func edited(tr *classic.Store, n int) *classic.Edit {
	e := tr.NewEdit(store.A)
	for i := range n {
		tid := zodb.TID(i+1) << 40
		var err error
		if i == 0 {
			_, err = e.BringBack(layout.Transaction(tid), tr.Deleted(layout.Transaction(tid), 77))
		} else {
			err = e.Replace(layout.Transaction(tid), []byte("new content of a transaction"))
		}
		if err != nil {
			return nil
		}
	}
	return e
}

// TestEditIsWholeAtEveryOperation cuts the power, and lets fail, each operation of
// an edit: under each name there is the old or the new file, whole, whose time is not
// before the floor if it is new.
func TestEditIsWholeAtEveryOperation(t *testing.T) {
	t.Parallel()
	for _, files := range []int{3, 40} { // with fsync, and with syncfs
		begin := func() (*classic.Store, *errfs.FS, *crashfs.FS) {
			tr, f, disk := newCrashTree(t)
			b := tr.NewRedo(store.A, files)
			for i := range files {
				if err := b.Create(layout.Transaction(zodb.TID(i+1)<<40), []byte("old")); err != nil {
					t.Fatal(err)
				}
			}
			r := tr.NewRemoval(77)
			_, _, err := r.Remove(layout.Transaction(1 << 40))
			if err := errors.Join(err, b.Sync(), r.Sync(), raiseFloor(tr)); err != nil {
				t.Fatal(err)
			}
			return tr, f, disk
		}
		look := func(what string, tr *classic.Store, after vfs.FS, done bool) {
			for i := range files {
				n := layout.Transaction(zodb.TID(i+1) << 40)
				got := content(after, tr.Path(store.A, n))
				old, new := "old", "new content of a transaction"
				if i == 0 {
					old, new = "none", "old"
				}
				if got != new && (done || got != old) {
					t.Errorf("%d files, %s: %s holds %q", files, what, n, got)
				}
				if got != new {
					continue
				}
				if info, err := after.Stat(tr.Path(store.A, n)); err != nil || info.ModTime.UnixNano() < tr.Floor() {
					t.Errorf("%d files, %s: %s bears %v, before the floor (%v)", files, what, n, info.ModTime, err)
				}
			}
		}
		every := hometest.OneOf(1, 2, 3)
		faulttest.Sampled(t, every, hometest.Phase(t), func(at faulttest.Nth, n int) (log []string, came bool) {
			tr, _, disk := begin()
			begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
			e := edited(tr, files)
			done := e != nil && e.Sync() == nil
			if came = cut.Load(); came == done {
				t.Fatalf("power cut before %v, which came %t: done %t", at, came, done)
			}
			for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(n)), crashfs.Random(uint32(n + 1000)), crashfs.Random(uint32(n + 2000))} {
				look(fmt.Sprintf("power cut before %v, %v", at, mode), tr, disk.Crashed(mode), done)
			}
			look("killed", tr, disk.Killed(), done)
			return disk.Log()[begun:], came
		})
		faulttest.Sampled(t, every, hometest.Phase(t), func(at faulttest.Nth, _ int) (log []string, came bool) {
			tr, f, disk := begin()
			failing := faulttest.ErrorAt(f, at, syscall.ENOSPC)
			e := edited(tr, files)
			if e == nil || e.Sync() != nil {
				if e = edited(tr, files); e == nil || e.Sync() != nil {
					t.Fatalf("it does not go on after an error at %v", at)
				}
			}
			look(fmt.Sprint("repeated after ", at), tr, disk.Crashed(crashfs.KeepNone), true)
			for e := range disk.List("journal") {
				t.Errorf("after %v %s is left in the journal", at, e.Name)
			}
			return failing()
		})
	}
}
