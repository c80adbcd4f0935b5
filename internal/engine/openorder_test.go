package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
	"github.com/google/go-cmp/cmp"
)

// TestRefusedOpenChangesNothing: A was replaced by an older copy, and somebody starts
// the server again and again.
func TestRefusedOpenChangesNothing(t *testing.T) {
	t.Parallel()
	where := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, where, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("one")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(t.TempDir(), "A")
	if err := os.CopyFS(older, os.DirFS(filepath.Join(where, "A"))); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, where, engine.Options{SegmentSize: 4 << 10})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("two" + strings.Repeat("x", 3000))})
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("three" + strings.Repeat("x", 3000)), Blob: "blob"}) // in the log only
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
	before := engine.ContentOf(t, f, ".")
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
		s, err := engine.Open(context.Background(), where, engine.Options{})
		if !errors.Is(err, zodb.ErrJournalOlder) || s != nil {
			t.Fatalf("%v, %v", s, err)
		}
		after := engine.ContentOf(t, f, ".")
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
	if err := engine.PopulateHome(disk, zodb.ClassFull, "chunky"); err != nil {
		t.Fatal(err)
	}
	o := engine.ScriptOptions(disk)
	o.SegmentSize = 1 << 20
	most := 0
	for i := range 25 {
		s, err := engine.Open(context.Background(), "", o)
		if err != nil {
			t.Fatal(err)
		}
		enginetest.Commit(t, s, enginetest.Change{OID: zodb.OID(i), Data: pickletest.Record(fmt.Sprint(i))})
		most = max(most, s.JournalSegments())
		disk = disk.Killed()
		o = engine.OnFS(o, disk)
		_ = s.Close() // of the one that was killed
	}
	if most < 2 || most > space.CrowdSegments+1 {
		t.Errorf("the log had %d segments", most)
	}
	s, err := engine.Open(context.Background(), "", o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 25 {
		if got := engine.Load(t, s, zodb.OID(i)); got != string(pickletest.Record(fmt.Sprint(i))) {
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
			if err := engine.PopulateHome(disk, zodb.ClassFull, "chunky"); err != nil {
				t.Fatal(err)
			}
			o := engine.ScriptOptions(disk)
			o.SegmentSize = 1 << 20
			s, err := engine.Open(t.Context(), "", o)
			if err == nil {
				err = s.WaitNormal(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("one")})
			before := engine.ContentOf(t, disk, home.JournalDir)
			for range 10 {
				disk = disk.Killed()
				o = engine.OnFS(o, disk)
				if s, err = engine.Open(context.Background(), "", o); err != nil {
					t.Fatal(err)
				}
				if flushed {
					if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
						t.Fatal(err)
					}
				}
				if got := engine.Load(t, s, 0); got != string(pickletest.Record("one")) {
					t.Fatalf("got %q", got)
				}
			}
			if d := cmp.Diff(before, engine.ContentOf(t, disk, home.JournalDir)); d != "" {
				t.Errorf("it changed: %.500s", d)
			}
			// A close that is clean leaves nothing there.
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if left := engine.ContentOf(t, disk, home.JournalDir); len(left) > 0 {
				t.Errorf("left in the journal: %d files", len(left))
			}
		})
	}
}
