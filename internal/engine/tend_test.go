package engine

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// bundlesOf returns the names of the bundles of a side, sorted.
func bundlesOf(t testing.TB, f vfs.FS, side string) (list []string) {
	t.Helper()
	for e, err := range f.List(side + "/bundles") {
		if err != nil {
			t.Fatal(err)
		}
		if _, number, ok := bundle.ParseName(e.Name); ok && number == 0 {
			list = append(list, e.Name)
		}
	}
	slices.Sort(list)
	return list
}

// flushEach commits and flushes a number of transactions, each about two objects.
func flushEach(t *testing.T, s *Storage, n int) {
	t.Helper()
	for i := range n {
		oid := zodb.OID(i%20 + 1)
		commit(t, s, change{oid: oid, data: rec(fmt.Sprint(oid, " at ", i))}, change{oid: 0, data: rec(fmt.Sprint("root at ", i))})
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBundlesAreMergedBesideFlushes: flushes do not leave a bundle each, nothing is merged in
// snapshot mode, and all is read afterwards, also by who opens it again.
func TestBundlesAreMergedBesideFlushes(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{Format: "bundled"})
	o := Options{CacheSize: -1}
	s := open(t, home, o)
	f := s.home.FS
	flushEach(t, s, 60)
	eventually(t, "merges", func() bool { return len(bundlesOf(t, f, "A")) < 10 })
	if err := s.EnterSnapshot(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	before := bundlesOf(t, f, "A")
	flushEach(t, s, 90)
	eventually(t, "merges in B", func() bool { n := len(bundlesOf(t, f, "B")); return n < 70 && n > 0 })
	if after := bundlesOf(t, f, "A"); !slices.Equal(before, after) {
		t.Errorf("A has %v in snapshot mode, had %v", after, before)
	}
	if err := s.LeaveSnapshot(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "merges of what was in B", func() bool { return len(bundlesOf(t, f, "A")) < 15 })
	look := func() {
		t.Helper()
		for oid := zodb.OID(1); oid <= 20; oid++ {
			if got := load(t, s, oid); !strings.Contains(got, fmt.Sprint(oid, " at ")) {
				t.Errorf("object %s is %q", oid, got)
			}
		}
		if got := load(t, s, 0); !strings.Contains(got, "root at 89") {
			t.Errorf("the root is %q", got)
		}
		if got := len(tids(t, s)); got != 150 {
			t.Errorf("there are %d transactions, want 150", got)
		}
	}
	look()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, home, o)
	look()
}

// TestMergesThatFailStopNobody: errors of merges are logged, nothing becomes read-only, and they
// are tried again.
func TestMergesThatFailStopNobody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, name string
		cause      error
	}{
		{"create", "journal/aside-merge", syscall.ENOSPC}, {"write", "journal/aside-merge", syscall.EIO}, {"sync", "journal/aside-merge", syscall.EIO},
		{"rename", "A/bundles/", syscall.EIO}, {"remove", "A/bundles/", syscall.EIO},
	} {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			home := newHome(t, CreateOptions{Format: "bundled"})
			dir, err := vfs.OS(home)
			if err != nil {
				t.Fatal(err)
			}
			var failed atomic.Int64
			f := errfs.New(dir, nil)
			s := open(t, home, Options{fs: f})
			f.Decide(func(op errfs.Op) error {
				isMerge := !strings.HasPrefix(c.name, "A/") || c.kind == "remove" || merged(op.Name)
				if op.Kind == c.kind && strings.HasPrefix(op.Name, c.name) && isMerge {
					failed.Add(1)
					return c.cause
				}
				return nil
			})
			flushEach(t, s, 20)
			eventually(t, "an error", func() bool { return failed.Load() > 0 })
			f.Decide(nil)
			flushEach(t, s, 5)
			if err := s.state.Writable(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "merges after all", func() bool { return len(bundlesOf(t, dir, "A")) < 8 })
			if got := load(t, s, 0); !strings.Contains(got, "root at 4") {
				t.Errorf("the root is %q", got)
			}
		})
	}
}

// merged reports whether a path is that of a bundle of more than one transaction.
func merged(path string) bool {
	n, _, ok := bundle.ParseName(path[strings.LastIndexByte(path, '/')+1:])
	return ok && n.Min != n.Max
}

// TestMergesGoOnAfterASnapshotThatFailed: an error while snapshot mode is entered does not keep A
// from being tended until the next snapshot.
func TestMergesGoOnAfterASnapshotThatFailed(t *testing.T) {
	t.Parallel()
	s, f, _ := newErrStorageAs(t, CreateOptions{Format: "bundled"}, Options{})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.Decide(func(op errfs.Op) error {
		if op.Kind == "rename" && op.Name == snapshotFile {
			return syscall.ENOSPC
		}
		return nil
	})
	if err := s.EnterSnapshot(t.Context(), "test"); err == nil {
		t.Fatal("entered")
	}
	f.Decide(nil)
	flushEach(t, s, 30)
	eventually(t, "merges", func() bool { return len(bundlesOf(t, f, "A")) < 10 })
}

// TestTheTableIsMadeAgain: a full disk takes the table of current revisions away. When there is room
// again it is made, without an open, and a check of the home finds nothing.
func TestTheTableIsMadeAgain(t *testing.T) {
	t.Parallel()
	log := &testLog{}
	s, f, home := newErrStorageAs(t, CreateOptions{Format: "bundled"}, Options{CacheSize: -1, Logger: log.Logger()})
	flushEach(t, s, 3)
	f.Decide(func(op errfs.Op) error {
		if op.Changes() && strings.Contains(op.Name, "misc/current") {
			return syscall.ENOSPC
		}
		return nil
	})
	flushEach(t, s, 3)
	eventually(t, "a warning", func() bool { return log.Count("no table of current revisions") == 1 })
	if got := load(t, s, 0); !strings.Contains(got, "root at 2") {
		t.Errorf("the root is %q", got)
	}
	f.Decide(nil)
	eventually(t, "a table", func() bool { return log.Count("the table of current revisions is there again") == 1 })
	flushEach(t, s, 2)
	if got := load(t, s, 0); !strings.Contains(got, "root at 1") {
		t.Errorf("the root is %q", got)
	}
	homeIsSound(t, home)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	homeIsSound(t, home)
	if n := log.Count("could not be made denser"); n > 0 {
		t.Errorf("%d warnings of merges", n)
	}
}

// heldFS is a disk on which the first merge is held up.
type heldFS struct {
	vfs.FS
	once          sync.Once
	reached, over chan struct{}
}

func (f *heldFS) Create(name string) (vfs.File, error) {
	if name == "journal/aside-merge" {
		f.once.Do(func() { close(f.reached); <-f.over })
	}
	return f.FS.Create(name)
}

// TestChoreThatMakesWayIsNotAnError: a pack that begins has the chore given up that is under way. That
// is no failure, although A is free again when the chore ends.
func TestChoreThatMakesWayIsNotAnError(t *testing.T) {
	t.Parallel()
	dir, err := vfs.OS(newHome(t, CreateOptions{Format: "bundled"}))
	if err != nil {
		t.Fatal(err)
	}
	f := &heldFS{FS: dir, reached: make(chan struct{}), over: make(chan struct{})}
	var log syncBuffer
	s := open(t, "", Options{fs: f, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	flushEach(t, s, 8)
	<-f.reached
	if err := s.state.RunTask(t.Context(), func() (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	close(f.over)
	eventually(t, "merges", func() bool { return len(bundlesOf(t, dir, "A")) < 5 })
	if text := log.String(); strings.Contains(text, "denser; nothing is lost") {
		t.Error(text)
	}
}
