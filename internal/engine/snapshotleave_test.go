package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// slowRemoval holds up one removal of a file, once it is armed.
type slowRemoval struct {
	vfs.FS
	name       string
	armed      atomic.Bool
	begun, end chan struct{}
}

func (f *slowRemoval) Remove(name string) error {
	if name == f.name && f.armed.CompareAndSwap(true, false) {
		close(f.begun)
		<-f.end
	}
	return f.FS.Remove(name)
}

// TestLeavingASnapshotStopsNobody: the disk takes its time over the removal of misc/snapshot.
// Meanwhile commits, loads and the status go on, and a Close waits for the end of it.
func TestLeavingASnapshotStopsNobody(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	begun, end := make(chan struct{}), make(chan struct{})
	f := &slowRemoval{FS: dir, name: snapfile.Name, begun: begun, end: end}
	s := engine.OpenHome(t, home, engine.OnFS(engine.Options{}, f))
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("one")})
	if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	f.armed.Store(true)
	left, closed := make(chan error, 1), make(chan error, 1)
	go func() { left <- s.LeaveSnapshot(t.Context(), "x") }()
	<-begun
	last := enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("two")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rev, err := s.Load(t.Context(), 0); err != nil || rev.Serial != last {
		t.Errorf("loaded %s: %v", rev.Serial, err)
	}
	if st := s.Status(); st.Snapshot != "user/x" || st.LastTID != last {
		t.Errorf("the status is %q at %s", st.Snapshot, st.LastTID)
	}
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("closed while snapshot mode is being left: %v", err)
	case err := <-left:
		t.Fatalf("left snapshot mode before misc/snapshot is gone: %v", err)
	default:
	}
	close(end)
	if err := errors.Join(<-left, <-closed); err != nil {
		t.Fatal(err)
	}
	again := engine.OpenHome(t, home, engine.Options{})
	if rev, err := again.Load(t.Context(), zodb.OID(0)); err != nil || rev.Serial != last {
		t.Errorf("after another open loaded %s: %v", rev.Serial, err)
	}
}

// TestLookingForTheSublockKeepsNobodyWaiting: by its clock it is always time to look whether the
// snapshot can be left, which it cannot. Other work is done all the same.
func TestLookingForTheSublockKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := dir.Lock(snapfile.Sublock)
	if err != nil {
		t.Fatal(err)
	}
	var minutes atomic.Int64
	s := engine.OpenHome(t, home, engine.Options{RetryInterval: time.Millisecond, SnapshotLimit: -1,
		Clock: func() time.Time { return time.Now().Add(time.Duration(minutes.Add(1)) * time.Minute) }})
	if st := s.Status(); st.Snapshot != "startup" {
		t.Fatalf("the state is %q", st.Snapshot)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("one")})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitNormal(ctx); err != nil {
		t.Fatal(err)
	}
}
