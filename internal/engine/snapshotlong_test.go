package engine_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// logged is a log that may be read meanwhile.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func TestLongSnapshotIsToldOnce(t *testing.T) {
	t.Parallel()
	var log logged
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{SnapshotLimit: 20 * time.Millisecond, RetryInterval: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if st := s.Status().SnapshotMode; st != nil {
		t.Errorf("outside: %+v", st)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root")}, enginetest.Change{OID: 1, Data: pickletest.Record("garbage")})
	first := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root again")})
	before := time.Now()
	if err := s.EnterSnapshot(t.Context(), "nightly"); err != nil {
		t.Fatal(err)
	}
	last := enginetest.Commit(t, s, enginetest.Change{OID: 2, Data: pickletest.Record("two")})
	hometest.Eventually(t, "the line in the log", func() bool { return log.count("in snapshot mode for long") > 0 })
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	hometest.Eventually(t, "the flush", func() bool { return s.Status().UnflushedTransactions == 0 })
	st := s.Status().SnapshotMode
	if st == nil || !st.Long || st.Code != "nightly" || st.TID != first || st.Newer != 1 || st.Since.Before(before) || st.Seconds < 0.02 {
		t.Fatalf("%+v, last transactions %s and %s", st, first, last)
	}
	ctx, cancel := context.WithCancel(t.Context())
	packed := make(chan error)
	go func() {
		_, err := s.Pack(ctx, zodb.PackOptions{Time: time.Now()})
		packed <- err
	}()
	hometest.Eventually(t, "the pack that waits", func() bool {
		p := s.Status().Pack
		return p != nil && strings.Contains(p.Waiting, `it was entered as "nightly"`)
	})
	cancel()
	if err := <-packed; !errors.Is(err, context.Canceled) {
		t.Errorf("pack: %v", err)
	}
	if err := s.EnterSnapshot(t.Context(), "another"); !errors.Is(err, zodb.ErrSnapshotMode) || !strings.Contains(err.Error(), `as "nightly"`) || !strings.Contains(err.Error(), "snapshot leave") {
		t.Errorf("another one: %v", err)
	}
	if n := log.count("in snapshot mode for long"); n != 1 {
		t.Errorf("told %d times", n)
	}
	if err := errors.Join(s.LeaveSnapshot(t.Context(), "nightly"), s.WaitNormal(t.Context())); err != nil {
		t.Fatal(err)
	}
	if st := s.Status().SnapshotMode; st != nil {
		t.Errorf("afterwards: %+v", st)
	}
}

// TestSnapshotThatEndsIsJoinedByNobody ends a snapshot while the sublock is held,
// abandons one, and opens a storage while the lock is held: A stands still, and
// nobody else is told that it is a snapshot.
func TestSnapshotThatEndsIsJoinedByNobody(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{RetryInterval: time.Millisecond})
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	hold := func() vfs.Lock {
		t.Helper()
		lock, err := f.Lock(snapfile.Sublock)
		if err != nil {
			t.Fatal(err)
		}
		return lock
	}
	pointer := filepath.Join(home, "A/o0/00/00/00/00/00/00/001/c")
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("one")})
	if err := s.EnterSnapshot(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	r, err := snapfile.Read(f)
	if err != nil || r.TID != s.LastTransaction() || r.Code != "user/a" {
		t.Fatalf("%+v, %v", r, err)
	}
	info, err := os.Stat(filepath.Join(home, snapfile.Name))
	if err != nil || !info.ModTime().Equal(r.Moment) {
		t.Errorf("misc/snapshot is of %v, and the snapshot of %v, %v", info.ModTime(), r.Moment, err)
	}
	lock := hold()
	if err := s.EndSnapshot(t.Context(), "b"); !errors.Is(err, zodb.ErrSnapshotMode) {
		t.Errorf("ended under another code: %v", err)
	}
	before, err := os.ReadFile(pointer)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.EndSnapshot(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if got := s.Status().Snapshot; engine.SnapshotContent(home) != "none" || got != "leaving" {
		t.Errorf("misc/snapshot holds %q, the state is %q", engine.SnapshotContent(home), got)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Serial: s.LastTransaction(), Data: pickletest.Record("two")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(pointer); err != nil || !bytes.Equal(before, now) {
		t.Errorf("A changed while the sublock was held, %v", err)
	}
	entered := make(chan error)
	go func() { entered <- s.EnterSnapshot(t.Context(), "next") }() // waits
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-entered; err != nil {
		t.Fatal(err)
	}
	lock = hold()
	s.AbandonSnapshot("next")
	hometest.Eventually(t, "that nobody is told of it", func() bool {
		_, err := snapfile.Read(f)
		return errors.Is(err, snapfile.ErrUnknown)
	})
	if got := engine.SnapshotContent(home); got != "user/next" {
		t.Errorf("whoever has it lost it: %q", got)
	}
	if err := errors.Join(lock.Close(), s.WaitNormal(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	if r, err := snapfile.Read(f); err != nil || r.Code != snapfile.Shutdown || r.TID != s.LastTransaction() {
		t.Errorf("closed: %+v, %v", r, err)
	}
	lock = hold()
	s = engine.OpenHome(t, home, engine.Options{RetryInterval: time.Millisecond})
	if _, err := snapfile.Read(f); !errors.Is(err, snapfile.ErrUnknown) || engine.SnapshotContent(home) != snapfile.Shutdown {
		t.Errorf("opened while somebody copies: %v, %q", err, engine.SnapshotContent(home))
	}
	if err := errors.Join(lock.Close(), s.WaitNormal(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// TestWhoHoldsTheSublockIsNotMadeUp: flock(1) writes no process id into the file, which
// still has that of the storage.
func TestWhoHoldsTheSublockIsNotMadeUp(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(home, snapfile.Sublock), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	err = s.LeaveSnapshot(t.Context(), "x")
	if !errors.Is(err, zodb.ErrLocked) || !strings.Contains(err.Error(), "another process holds") {
		t.Errorf("leave: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.LeaveSnapshot(t.Context(), "x"); err != nil {
		t.Error(err)
	}
}
