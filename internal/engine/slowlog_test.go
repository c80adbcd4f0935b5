package engine

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// slowLog asks, while each line is being written, whether the storage can be asked
// and read: a reader of the log may be slow.
type slowLog struct {
	t       *testing.T
	storage atomic.Pointer[Storage]

	mu   sync.Mutex
	seen []string
}

func (l *slowLog) line(text string) {
	l.mu.Lock()
	l.seen = append(l.seen, text)
	l.mu.Unlock()
	s := l.storage.Load()
	if s == nil {
		return
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		s.Status()
		if _, err := s.Load(l.t.Context(), zodb.OID(0)); err != nil {
			l.t.Error(err)
		}
		_, _ = s.NewOIDs(1)                             // refused once it is read-only
		_ = s.LeaveSnapshot(l.t.Context(), "of nobody") // refused; it waits for the leaver of another one
	}()
	select {
	case <-answered:
	case <-time.After(5 * time.Minute):
		l.t.Errorf("nobody is answered while “%s” is written", text)
	}
}

func (l *slowLog) saw(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.seen {
		if strings.HasPrefix(line, text) {
			return true
		}
	}
	return false
}

// TestSlowLogStopsNobody goes through the log lines of a storage, and keeps each of them for as
// long as somebody needs to ask and read it.
func TestSlowLogStopsNobody(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	first := open(t, home, Options{})
	commit(t, first, change{oid: 0, data: rec("root")})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	log := &slowLog{t: t}
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	f := errfs.New(dir, nil)
	disk := &changingDisk{FS: f}
	disk.free.Store(50 << 30)
	// A minute passes each time, so that the worker always looks for space.
	var minutes atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(minutes.Add(1)) * time.Minute) }
	s := open(t, home, Options{fs: disk, Logger: slog.New(logFunc(log.line)), LowSpace: 1 << 30, Reserve: 1 << 20,
		RetryInterval: time.Millisecond, SnapshotLimit: -1, Clock: clock})
	log.storage.Store(s)
	want := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			eventually(t, line, func() bool { s.state.Wake(); return log.saw(line) })
		}
	}
	if err := errors.Join(s.WaitNormal(t.Context()), s.EnterSnapshot(t.Context(), "x")); err != nil {
		t.Fatal(err)
	}
	if log.saw("merged B into A") {
		t.Error("nothing was in B")
	}
	commit(t, s, change{oid: 0, data: rec("beside the snapshot")})
	if err := errors.Join(s.Flush(t.Context()), s.LeaveSnapshot(t.Context(), "x"), s.WaitNormal(t.Context())); err != nil {
		t.Fatal(err)
	}
	want("entered snapshot mode", "left snapshot mode", "merged B into A")
	commit(t, s, change{oid: 0, data: rec("one")})
	for _, cause := range []syscall.Errno{syscall.ENOSPC, syscall.EMFILE} {
		f.Decide(func(op errfs.Op) error {
			if isFlushed(op) {
				return cause
			}
			return nil
		})
		eventually(t, "trouble", func() bool { return errors.Is(s.Flush(t.Context()), cause) })
	}
	want("disk full: committed transactions stay in the journal", "out of descriptors or memory")
	f.Decide(nil)
	want("the trouble has passed", "flushed")
	eventually(t, "a reserve", func() bool { s.state.Wake(); return s.space.HasReserve(1 << 20) })
	disk.free.Store(1 << 20)
	want("space is getting low")
	if err := s.home.FS.Remove(space.ReserveFile); err != nil {
		t.Fatal(err)
	}
	want("disk full: commits are refused")
	disk.free.Store(50 << 30)
	want("there is space again", "there is room for a reserve again")
	s.space.MakeRoom(1 << 60)
	want("disk full: the reserve is given up")
	_ = s.state.Fail(errors.New("of a test"))
	want("storage became read-only")
}

// TestSlowLogOfAFailedLeaveStopsNobody: the line about the failure is written when nobody waits for
// the leaver of the mode.
func TestSlowLogOfAFailedLeaveStopsNobody(t *testing.T) {
	t.Parallel()
	log := &slowLog{t: t}
	s, f, _ := newErrStorage(t, Options{Logger: slog.New(logFunc(log.line))})
	commit(t, s, change{oid: 0, data: rec("root")})
	if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	log.storage.Store(s)
	f.Decide(func(op errfs.Op) error {
		if op.Name == snapshotFile {
			return syscall.EIO
		}
		return nil
	})
	if err := s.LeaveSnapshot(t.Context(), "x"); !errors.Is(err, syscall.EIO) {
		t.Errorf("leave: %v", err)
	}
	eventually(t, "read-only", func() bool { return log.saw("storage became read-only") })
}

// logFunc is called with every line of a log, also while it is called with another.
type logFunc func(line string)

func (f logFunc) Handle(_ context.Context, r slog.Record) error { f(r.Message); return nil }

func (f logFunc) Enabled(context.Context, slog.Level) bool { return true }
func (f logFunc) WithAttrs([]slog.Attr) slog.Handler       { return f }
func (f logFunc) WithGroup(string) slog.Handler            { return f }
