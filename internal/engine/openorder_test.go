package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
	"github.com/google/go-cmp/cmp"
)

// contentOf returns the content of every file below a directory, by its name.
func contentOf(t *testing.T, f vfs.FS, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for name, err := range vfs.Walk(f, dir) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}

// TestRefusedOpenChangesNothing: A was replaced by an older copy, and somebody starts
// the server again and again.
func TestRefusedOpenChangesNothing(t *testing.T) {
	t.Parallel()
	where := newHome(t, CreateOptions{})
	s := open(t, where, Options{})
	commit(t, s, change{oid: 0, data: rec("one")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(t.TempDir(), "A")
	if err := os.CopyFS(older, os.DirFS(filepath.Join(where, "A"))); err != nil {
		t.Fatal(err)
	}
	s = open(t, where, Options{SegmentSize: 4 << 10})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		commit(t, s, change{oid: 0, data: rec("two" + strings.Repeat("x", 3000))})
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	commit(t, s, change{oid: 0, data: rec("three" + strings.Repeat("x", 3000)), blob: "blob"}) // in the log only
	s.Close()
	for _, side := range []string{"A", "B"} {
		if err := os.RemoveAll(filepath.Join(where, side)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(where, "A"), os.DirFS(older)); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS(where)
	if err != nil {
		t.Fatal(err)
	}
	before := contentOf(t, f, ".")
	forget := func(all map[string]string) {
		delete(all, home.LockFile) // says who was here last
		for name := range all {
			if strings.HasPrefix(name, "misc/current") { // derived from A as it is
				delete(all, name)
			}
		}
	}
	forget(before)
	for range 3 {
		s, err := Open(context.Background(), where, Options{})
		if !errors.Is(err, zodb.ErrJournalOlder) || s != nil {
			t.Fatalf("%v, %v", s, err)
		}
		after := contentOf(t, f, ".")
		forget(after)
		if d := cmp.Diff(before, after); d != "" {
			t.Fatalf("a refused open changed HOME: %.500s", d)
		}
	}
}

// TestKillLoopWithCommitsFillsNoDisk: a process commits at each start and is killed before
// it flushes. The log does not grow by a segment each time for ever, and nothing is lost.
func TestKillLoopWithCommitsFillsNoDisk(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	if err := populateHome(disk, zodb.ClassFull, "chunky"); err != nil {
		t.Fatal(err)
	}
	o := scriptOptions(disk)
	o.SegmentSize = 1 << 20
	most := 0
	for i := range 25 {
		s, err := Open(context.Background(), "", o)
		if err != nil {
			t.Fatal(err)
		}
		commit(t, s, change{oid: zodb.OID(i), data: rec(fmt.Sprint(i))})
		most = max(most, s.journal.Stats().Segments)
		disk = disk.Killed()
		o.fs = disk
		_ = s.Close() // of the one that was killed
	}
	if most < 2 || most > space.CrowdSegments+1 {
		t.Errorf("the log had %d segments", most)
	}
	s, err := Open(context.Background(), "", o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 25 {
		if got := load(t, s, zodb.OID(i)); got != string(rec(fmt.Sprint(i))) {
			t.Errorf("object %d is %q", i, got)
		}
	}
}

// TestStartsInAKillLoopDoNotGrowTheJournal: a process that is killed soon after each
// start, with a transaction that is not flushed yet, or that is flushed and not released.
func TestStartsInAKillLoopDoNotGrowTheJournal(t *testing.T) {
	t.Parallel()
	for _, flushed := range []bool{false, true} {
		t.Run(fmt.Sprintf("flushed %t", flushed), func(t *testing.T) {
			t.Parallel()
			disk := crashfs.New(1)
			if err := populateHome(disk, zodb.ClassFull, "chunky"); err != nil {
				t.Fatal(err)
			}
			o := scriptOptions(disk)
			o.SegmentSize = 1 << 20
			s, err := Open(t.Context(), "", o)
			if err == nil {
				err = s.WaitNormal(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			commit(t, s, change{oid: 0, data: rec("one")})
			before := contentOf(t, disk, home.JournalDir)
			for range 10 {
				disk = disk.Killed()
				o.fs = disk
				if s, err = Open(context.Background(), "", o); err != nil {
					t.Fatal(err)
				}
				if flushed {
					if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
						t.Fatal(err)
					}
				}
				if got := load(t, s, 0); got != string(rec("one")) {
					t.Fatalf("got %q", got)
				}
			}
			if d := cmp.Diff(before, contentOf(t, disk, home.JournalDir)); d != "" {
				t.Errorf("it changed: %.500s", d)
			}
			// A close that is clean leaves nothing there.
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if left := contentOf(t, disk, home.JournalDir); len(left) > 0 {
				t.Errorf("left in the journal: %d files", len(left))
			}
		})
	}
}
