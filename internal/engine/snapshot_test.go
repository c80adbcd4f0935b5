package engine_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/engine/flush"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestSnapshotModeHasOneOwner(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	ctx := t.Context()
	for _, bad := range []string{"", "two\nlines", strings.Repeat("x", 201)} {
		if err := s.EnterSnapshot(ctx, bad); err == nil {
			t.Errorf("code %.10q was accepted", bad)
		}
	}
	if err := s.LeaveSnapshot(ctx, "a"); !errors.Is(err, zodb.ErrSnapshotMode) {
		t.Errorf("left without having been entered: %v", err)
	}
	if err := s.EnterSnapshot(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got := engine.SnapshotContent(home); got != "user/a" {
		t.Errorf("misc/snapshot holds %q", got)
	}
	if err := s.EnterSnapshot(ctx, "b"); !errors.Is(err, zodb.ErrSnapshotMode) || !strings.Contains(err.Error(), "user/a") {
		t.Errorf("entered twice: %v", err)
	}
	if err := s.LeaveSnapshot(ctx, "b"); !errors.Is(err, zodb.ErrSnapshotMode) {
		t.Errorf("left under another code: %v", err)
	}
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock(snapfile.Sublock)
	if err != nil {
		t.Fatalf("the sublock is not free in snapshot mode: %v", err)
	}
	if err := s.LeaveSnapshot(ctx, "a"); !errors.Is(err, zodb.ErrLocked) {
		t.Errorf("left while somebody holds the sublock: %v", err)
	}
	if got := engine.SnapshotContent(home); got != "user/a" {
		t.Errorf("misc/snapshot holds %q after a refusal", got)
	}
	if err := errors.Join(lock.Close(), s.LeaveSnapshot(ctx, "a"), s.WaitNormal(ctx)); err != nil {
		t.Fatal(err)
	}
	if got := engine.SnapshotContent(home); got != "none" {
		t.Errorf("misc/snapshot holds %q", got)
	}
	if _, err := f.Lock(snapfile.Sublock); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("the sublock is free outside snapshot mode: %v", err)
	}
}

func TestSnapshotHoldsWhatWasCommittedBeforeAndNothingElse(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	ctx := t.Context()
	t1 := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one"), Blob: "blob"})
	if err := s.EnterSnapshot(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")}, enginetest.Change{OID: 2, Data: pickletest.Record("new")})
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	for _, dir := range []string{"config", "A"} {
		if err := os.CopyFS(filepath.Join(copied, dir), os.DirFS(filepath.Join(home, dir))); err != nil {
			t.Fatal(err)
		}
	}
	c := engine.OpenHome(t, copied, engine.Options{History: engine.HistoryKept})
	if got := engine.Load(t, c, 1); got != string(pickletest.Record("one")) || c.LastTransaction() != t1 || engine.ReadBlob(t, c, 1, t1) != "blob" {
		t.Errorf("the copy has %q, last transaction %s", got, c.LastTransaction())
	}
	if _, err := c.Load(ctx, 2); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("the copy has what was committed later: %v", err)
	}
	if engine.Load(t, s, 1) != string(pickletest.Record("two")) || engine.Load(t, s, 2) != string(pickletest.Record("new")) {
		t.Error("the storage does not give what is in B")
	}
	if err := errors.Join(s.LeaveSnapshot(ctx, "a"), s.WaitNormal(ctx)); err != nil {
		t.Fatal(err)
	}
	if engine.Load(t, s, 1) != string(pickletest.Record("two")) || engine.Load(t, s, 2) != string(pickletest.Record("new")) {
		t.Error("the storage lost what was in B")
	}
}

func TestEnteringCanBeGivenUp(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	if err := s.EnterSnapshot(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for i := range zodb.OID(300) {
		enginetest.Commit(t, s, enginetest.Change{OID: i, Data: pickletest.Record("x")})
	}
	if err := errors.Join(s.Flush(t.Context()), s.LeaveSnapshot(t.Context(), "a")); err != nil {
		t.Fatal(err)
	}
	// It has to wait for the recombination.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.EnterSnapshot(ctx, "b"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.EnterSnapshot(t.Context(), "c"); err != nil {
		t.Errorf("after one that was given up: %v", err)
	}
}

func TestStorageLeavesTheSnapshotOfAToolThatDied(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	ctx := t.Context()
	c, err := control.Dial(ctx, home)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Enter(ctx, "tool", true); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock(snapfile.Sublock) // a child of the tool still copies
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if got := s.Status().Snapshot; got != "user/tool" {
		t.Errorf("state %q while the sublock is held", got)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	hometest.Eventually(t, "leaving", func() bool { return s.Status().Snapshot == "" })
}

func TestShutdownStates(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		set      string // of config/settings
		before   func(t *testing.T, s *engine.Storage) error
		snapshot string
		journal  bool // something is left there
		b        bool
	}{
		"clean":          {"", func(*testing.T, *engine.Storage) error { return nil }, "shutdown", false, false},
		"quick_shutdown": {"1", func(*testing.T, *engine.Storage) error { return nil }, "none", true, false},
		"in snapshot mode": {"", func(t *testing.T, s *engine.Storage) error {
			if err := s.EnterSnapshot(t.Context(), "a"); err != nil {
				return err
			}
			enginetest.Commit(t, s, enginetest.Change{OID: 2, Data: pickletest.Record("two")})
			if err := s.Flush(t.Context()); err != nil {
				return err
			}
			enginetest.Commit(t, s, enginetest.Change{OID: 3, Data: pickletest.Record("three")})
			return nil
		}, "user/a", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := engine.CreateOptions{}
			if tc.set != "" {
				o.Set = map[string]string{"filesystem.quick_shutdown": tc.set}
			}
			home := engine.NewHome(t, o)
			s := engine.OpenHome(t, home, engine.Options{})
			if err := s.WaitNormal(t.Context()); err != nil {
				t.Fatal(err)
			}
			enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one"), Blob: "blob"})
			if err := tc.before(t, s); err != nil {
				t.Fatal(err)
			}
			last := s.LastTransaction()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			left := func(dir string) bool {
				f, err := vfs.OS(home)
				if err != nil {
					t.Fatal(err)
				}
				for range vfs.Walk(f, dir) {
					return true
				}
				return false
			}
			if got := engine.SnapshotContent(home); got != tc.snapshot {
				t.Errorf("misc/snapshot holds %q, want %q", got, tc.snapshot)
			}
			if left("journal") != tc.journal || left("B") != tc.b {
				t.Errorf("something is left in journal: %t, in B: %t", left("journal"), left("B"))
			}
			// A read-only storage sees all of it, and so does the next writer.
			r := engine.OpenHome(t, home, engine.Options{ReadOnly: true})
			if r.LastTransaction() != last || engine.Load(t, r, 1) != string(pickletest.Record("one")) {
				t.Errorf("read-only: last transaction %s, want %s", r.LastTransaction(), last)
			}
			s = engine.OpenHome(t, home, engine.Options{CleanShutdown: true})
			if s.LastTransaction() != last || engine.Load(t, s, 1) != string(pickletest.Record("one")) {
				t.Errorf("last transaction %s, want %s", s.LastTransaction(), last)
			}
			if err := errors.Join(s.WaitNormal(t.Context()), s.Close()); err != nil {
				t.Fatal(err)
			}
			if engine.SnapshotContent(home) != "shutdown" || left("journal") || left("B") {
				t.Error("after a clean close something is left")
			}
		})
	}
}

func TestJournalOfAnotherAIsRefused(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{Set: map[string]string{"filesystem.quick_shutdown": "1"}})
	s := engine.OpenHome(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(t.TempDir(), "A")
	if err := os.CopyFS(saved, os.DirFS(filepath.Join(home, "A"))); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		// More than a segment each, so that the log does not hold the first ones any more.
		enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record(fmt.Sprint("later", i) + strings.Repeat("x", 100<<10))})
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("in the journal")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A is put back from a backup, and the journal is left.
	if err := errors.Join(os.RemoveAll(filepath.Join(home, "A")), os.Rename(saved, filepath.Join(home, "A"))); err != nil {
		t.Fatal(err)
	}
	for _, o := range []engine.Options{{}, {ReadOnly: true}} {
		o.SegmentSize = 64 << 10
		if s, err := engine.Open(t.Context(), home, o); !errors.Is(err, zodb.ErrJournalOlder) {
			t.Errorf("read-only %t: %v", o.ReadOnly, err)
			if err == nil {
				s.Close()
			}
		}
	}
	// As the error says: with an empty journal it opens.
	entries, err := os.ReadDir(filepath.Join(home, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(home, "journal", e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if got := engine.Load(t, engine.OpenHome(t, home, engine.Options{}), 1); got != string(pickletest.Record("one")) {
		t.Errorf("got %q", got)
	}
}

func TestFlushComesByItself(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{Set: map[string]string{"journal.flush_interval": "1"}})
	s := engine.OpenHome(t, home, engine.Options{})
	tid := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	hometest.Eventually(t, "the flush of an idle storage", func() bool { return s.Status().UnflushedTransactions == 0 })
	if _, err := os.Stat(filepath.Join(home, "A/o0/00/00/00/00/00/00/001", tid.String())); err != nil {
		t.Error(err)
	}
}

func TestChecksumsFollowTheSettings(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{Set: map[string]string{"md5policy.write": "0"}})
	s := engine.OpenHome(t, home, engine.Options{})
	tid := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(home, "A/o0/00/00/00/00/00/00/001", tid.String())
	b, err := os.ReadFile(name)
	if err != nil || string(b[40:56]) != strings.Repeat("\x00", 16) {
		t.Errorf("md5 % x, %v", b[40:56], err)
	}
	if got := engine.Load(t, s, 1); got != string(pickletest.Record("one")) {
		t.Errorf("got %q", got)
	}
}

func TestSyncCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]bool{"0": false, "1": true} {
		home := engine.NewHome(t, engine.CreateOptions{Set: map[string]string{"filesystem.sync": set}})
		s := engine.OpenHome(t, home, engine.Options{})
		enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
		if got := s.Status().JournalSyncs > 0; got != want {
			t.Errorf("sync %s: synced %t", set, got)
		}
	}
}

func TestExactCountsAreKept(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	for i := range zodb.OID(20) {
		enginetest.Commit(t, s, enginetest.Change{OID: i, Data: pickletest.Record("x"), Blob: "blob"})
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("y")})
	want := s.Counts()
	if !want.Exact || want.Objects != 20 || want.Revisions != 21 || want.Transactions != 21 || want.BlobBytes != 80 {
		t.Errorf("counts %+v", want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(home, flush.CountsFile)); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{})
	if got := s.Counts(); got.Exact || got.Objects < want.Objects {
		t.Errorf("counts of a storage that nobody has counted: %+v", got)
	}
	if got, err := s.CountExactly(t.Context()); err != nil || got != want {
		t.Errorf("counted %+v, %v, want %+v", got, err, want)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 30, Data: pickletest.Record("z")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{ReadOnly: true})
	if got := s.Counts(); !got.Exact || got.Objects != 21 {
		t.Errorf("counts after a restart: %+v", got)
	}
}

func TestHistoryStopsAfterItsTimeout(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{Set: map[string]string{"storage.history_timeout": "5"}})
	var now, step atomic.Int64 // nanoseconds
	now.Store(engine.ParseTime("2026-01-01T00:00:00Z").UnixNano())
	clock := func() time.Time { return time.Unix(0, now.Add(step.Load())) }
	s := engine.OpenHome(t, home, engine.Options{Clock: clock})
	for range 10 {
		now.Add(int64(time.Second))
		enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("x")})
	}
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = engine.OpenHome(t, home, engine.Options{ReadOnly: true, Clock: clock})
	if h, err := s.History(t.Context(), 1, 100); err != nil || len(h) != 10 {
		t.Errorf("%d revisions, %v", len(h), err)
	}
	step.Store(int64(3 * time.Second))
	if h, err := s.History(t.Context(), 1, 100); err != nil || len(h) == 0 || len(h) > 3 {
		t.Errorf("%d revisions in 5 seconds of 3 each, %v", len(h), err)
	}
	n := 0
	for _, err := range s.UndoLog(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n == 0 || n > 3 {
		t.Errorf("%d entries of the undo log", n)
	}
}

func TestReplicaWithForeignNamesIsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../outside", "A/../../outside", "/etc/outside", "misc/lock", "A/o0/strange name", "A/$(touch outside)"} {
		home := engine.NewHome(t, engine.CreateOptions{})
		tid := zodb.TID(0x03F6ED1905555555)
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, m := range []struct{ name, content string }{{"A/x/serial", string(tid.Bytes())}, {name, "content"}} {
			if err := w.WriteHeader(&tar.Header{Name: m.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(m.content))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(m.content)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Close(), os.WriteFile(filepath.Join(home, "journal", "replica.tar"), b.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
		s, err := engine.Open(t.Context(), home, engine.Options{})
		if err == nil || !strings.Contains(err.Error(), "replica.tar") {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				s.Close()
			}
		}
		if got, err := os.ReadFile(filepath.Join(home, "A/x/serial")); err != nil || string(got) != strings.Repeat("\x00", 8) {
			t.Errorf("%s: something of it was applied: % x, %v", name, got, err)
		}
		for _, outside := range []string{filepath.Join(home, "..", "outside"), filepath.Join(home, "..", "..", "outside"), "/etc/outside"} {
			if _, err := os.Lstat(outside); err == nil {
				t.Errorf("%s: %s was written", name, outside)
			}
		}
	}
}

func TestFilesHaveNoExecuteBits(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one"), Blob: "#!/bin/sh\n"})
	if err := errors.Join(s.Flush(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode()&0o111 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		files++
		return err
	})
	if err != nil || files < 8 {
		t.Errorf("%d files, %v", files, err)
	}
}

// TestCopyOfAClosedStorageCanBeFollowedByAnIncrementalOne: A is a snapshot after a clean close,
// too. Files written after the next open must look later than all files that a copy saw then, in
// whole seconds, whatever the clock does.
func TestCopyOfAClosedStorageCanBeFollowedByAnIncrementalOne(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{0, -time.Hour} {
		home := engine.NewHome(t, engine.CreateOptions{})
		s := engine.OpenHome(t, home, engine.Options{})
		enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		pointer := filepath.Join(home, "A/o0/00/00/00/00/00/00/001/c")
		before, err := os.Stat(pointer)
		if err != nil {
			t.Fatal(err)
		}
		copied := time.Now()
		s = engine.OpenHome(t, home, engine.Options{Clock: func() time.Time { return time.Now().Add(step) }})
		if err := s.WaitNormal(t.Context()); err != nil {
			t.Fatal(err)
		}
		enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("two")})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(pointer)
		if err != nil {
			t.Fatal(err)
		}
		if after.ModTime().Unix() <= before.ModTime().Unix() {
			t.Errorf("clock %v: the pointer bears %v, and bore %v in the copy", step, after.ModTime(), before.ModTime())
		}
		if step == 0 && after.ModTime().Before(copied) {
			t.Errorf("the pointer bears %v, before the copy at %v", after.ModTime(), copied)
		}
	}
}

// TestManyWhoWantASnapshotGetItOneAfterTheOther lets several ask at once. Only one
// is in the mode at a time, and no two enter together.
func TestManyWhoWantASnapshotGetItOneAfterTheOther(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	var inside, entered atomic.Int32
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			for i := 0; i < 20; {
				code := fmt.Sprintf("%d-%d", g, i)
				err := s.EnterSnapshot(t.Context(), code)
				if errors.Is(err, zodb.ErrSnapshotMode) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two are in snapshot mode")
				}
				entered.Add(1)
				inside.Add(-1)
				if err := s.LeaveSnapshot(t.Context(), code); err != nil {
					t.Error(err)
					return
				}
				i++
			}
		})
	}
	wait.Wait()
	if entered.Load() != 160 {
		t.Errorf("%d snapshots, want 160", entered.Load())
	}
}
