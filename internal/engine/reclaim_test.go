//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// wasted makes a HOME in which a pack has removed a third of the objects, so that nothing gives the
// space back by itself for a minute. It is open with a clock that is later by the result.
func wasted(t *testing.T, format, delay string) (s *Storage, home string, later *atomic.Int64) {
	t.Helper()
	s, home, later = toBeWasted(t, format, delay)
	if r := doPack(t, s, zodb.PackOptions{}); r.Revisions != 4 {
		t.Fatalf("the pack: %+v", r)
	}
	return s, home, later
}

// toBeWasted is wasted before the pack.
func toBeWasted(t *testing.T, format, delay string) (s *Storage, home string, later *atomic.Int64) {
	t.Helper()
	home = newHome(t, CreateOptions{Format: format, Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": delay}})
	later = new(atomic.Int64)
	s = open(t, home, Options{Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	oids := newOIDs(t, s, 8)
	big := incompressible(20 << 10)
	changes := []change{{oid: 0, data: rec("root", oids...)}}
	for _, oid := range oids {
		changes = append(changes, change{oid: oid, data: rec(fmt.Sprint("one", oid) + big)})
	}
	commit(t, s, changes...)
	for _, oid := range oids[:4] {
		commit(t, s, change{oid: oid, data: rec(fmt.Sprint("two", oid) + big)})
	}
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	return s, home, later
}

// bytesOfA is how much it takes up.
func bytesOfA(t *testing.T, s *Storage) int64 {
	t.Helper()
	use, err := s.DiskUse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range use.Parts {
		if p.Name == "A" {
			return p.Bytes
		}
	}
	t.Fatal("there is no A")
	return 0
}

// TestReclaimGivesBackWhatIsGone: little of a bundle is gone, so it is not written again by itself. Nothing that is
// read changes.
func TestReclaimGivesBackWhatIsGone(t *testing.T) {
	t.Parallel()
	s, home, _ := wasted(t, "bundled", "0")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(home)); err != nil {
		t.Fatal(err)
	}
	s = open(t, home, Options{})
	before := bytesOfA(t, s)
	use, err := s.DiskUse(t.Context())
	if err != nil || !use.InBundles || use.GoneBytes < 50<<10 || len(use.Aside) != 0 {
		t.Fatalf("before: %+v, %v", use, err)
	}
	r, err := s.Reclaim(t.Context(), ReclaimOptions{})
	if err != nil || r.Bytes < 50<<10 || r.Rewritten == 0 || !r.InBundles || r.GoneBytes != 0 || len(r.Aside) != 0 {
		t.Fatalf("reclaim: %+v, %v", r, err)
	}
	if after := bytesOfA(t, s); before-after < 50<<10 || max(before-after-r.Bytes, r.Bytes-before+after) > 16<<10 {
		t.Errorf("A had %d bytes and has %d; it says %d", before, after, r.Bytes)
	}
	if again, err := s.Reclaim(t.Context(), ReclaimOptions{}); err != nil || again.Bytes != 0 || again.Rewritten != 0 {
		t.Errorf("once more: %+v, %v", again, err)
	}
	if all, err := s.Reclaim(t.Context(), ReclaimOptions{SinceOpen: true}); err != nil || all.Bytes != r.Bytes || all.Rewritten != r.Rewritten {
		t.Errorf("since the open: %+v, %v", all, err)
	}
	if _, err := transfer.Compare(t.Context(), open(t, copied, Options{}), s, transfer.CompareOptions{}); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	if err := sound(t.Context(), dir, false); err != nil {
		t.Error(err)
	}
}

// TestReclaimLeavesAsideWhatMayComeBack: until delay_delete has passed nothing of it goes, and the result
// says from when on it may. A format of a file for each revision has nothing to write again.
func TestReclaimLeavesAsideWhatMayComeBack(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bundled", "chunky"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s, _, later := wasted(t, format, "86400")
			inside := format == "bundled"
			r, err := s.Reclaim(t.Context(), ReclaimOptions{})
			if err != nil || r.Bytes != 0 || r.Rewritten != 0 || r.Purged != 0 || r.InBundles != inside || r.GoneBytes != 0 {
				t.Fatalf("reclaim: %+v, %v", r, err)
			}
			if len(r.Aside) != 1 || r.Aside[0].Bytes < 50<<10 || time.Until(r.Aside[0].Until).Round(time.Minute) != 24*time.Hour {
				t.Fatalf("aside are %+v", r.Aside)
			}
			before := bytesOfA(t, s)
			later.Store(int64(25 * time.Hour))
			r, err = s.Reclaim(t.Context(), ReclaimOptions{})
			if err != nil || r.Bytes < 50<<10 || (r.Rewritten > 0) != inside || r.GoneBytes != 0 || len(r.Aside) != 0 || !inside && r.Purged < 4 {
				t.Fatalf("when delay_delete has passed: %+v, %v", r, err)
			}
			if after := bytesOfA(t, s); before-after < 50<<10 || max(before-after-r.Bytes, r.Bytes-before+after) > 16<<10 {
				t.Errorf("A had %d bytes and has %d; it says %d", before, after, r.Bytes)
			}
		})
	}
}

// TestReclaimCanBeStopped: it waits for the end of snapshot mode, and not when it is told to stop.
func TestReclaimCanBeStopped(t *testing.T) {
	t.Parallel()
	s, _, _ := wasted(t, "bundled", "0")
	if err := s.EnterSnapshot(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := s.Reclaim(ctx, ReclaimOptions{})
		ended <- err
	}()
	eventually(t, "waiting", func() bool { return s.PackProgress().Waiting != "" })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if err := s.LeaveSnapshot(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Reclaim(t.Context(), ReclaimOptions{}); err != nil || r.Bytes == 0 {
		t.Errorf("after that: %+v, %v", r, err)
	}
}

// TestReclaimEndsWithTheStorage: it waits for the end of a snapshot, and the storage becomes read-only.
func TestReclaimEndsWithTheStorage(t *testing.T) {
	t.Parallel()
	s, _, _ := wasted(t, "bundled", "0")
	if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.worker.Reclaim(t.Context(), 0) }()
	_ = s.state.Fail(errors.New("a disk"))
	select {
	case err := <-ended:
		if _, ok := errors.AsType[*zodb.FailedError](err); !ok {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it waits for ever")
	}
}
