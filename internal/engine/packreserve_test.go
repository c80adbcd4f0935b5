//go:build linux

package engine

import (
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestTheReserveIsNotSpentForNothing: with delay_delete a pack of a full disk frees nothing, so it is refused;
// a dry run and a reclaim without anything to give back leave the reserve, too. It is taken by a pack that is
// told so, and by one after delay_delete.
func TestTheReserveIsNotSpentForNothing(t *testing.T) {
	t.Parallel()
	for _, format := range []layout.Format{layout.Bundled, layout.Chunky} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			d := newNearlyFull(t, format, 60)
			d.fill(t)
			dry, err := d.s.Pack(t.Context(), zodb.PackOptions{DryRun: true})
			if err != nil || dry.Revisions < 50 || dry.LaterBytes != dry.Bytes || dry.LaterFrom.Before(d.clock().Add(23*time.Hour)) || !d.reserved() {
				t.Errorf("a dry run: %+v, %v; the reserve is there: %t", dry, err, d.reserved())
			}
			if _, err := d.s.Pack(t.Context(), zodb.PackOptions{}); !errors.Is(err, zodb.ErrFreesNothing) || !errors.Is(err, zodb.ErrDiskFull) || !d.reserved() {
				t.Errorf("a pack that frees nothing: %v; the reserve is there: %t", err, d.reserved())
			}
			if r, err := d.s.Reclaim(t.Context(), ReclaimOptions{}); err != nil || r.Bytes != 0 || !d.reserved() {
				t.Errorf("a reclaim that frees nothing: %+v, %v; the reserve is there: %t", r, err, d.reserved())
			}
			d.isNewest(t)
			if r, err := d.s.Pack(t.Context(), zodb.PackOptions{IgnoreSpace: true}); err != nil || r.Revisions < 50 || r.FreedBytes != 0 || d.reserved() {
				t.Errorf("a pack that ignores it: %+v, %v; the reserve is there: %t", r, err, d.reserved())
			}
			if err := os.WriteFile(filepath.Join(d.home, space.ReserveFile), make([]byte, 2<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			d.later.Store(int64(25 * time.Hour))
			if r, err := d.s.Pack(t.Context(), zodb.PackOptions{}); err != nil {
				t.Errorf("a pack after delay_delete: %+v, %v", r, err)
			}
			eventually(t, "space", func() bool { return d.hasRoom(8 << 20) })
			d.isNewest(t)
		})
	}
}

// walkedOn is a disk without room whose A has a directory that goes on and on, as in a large storage, once it
// is told to.
type walkedOn struct {
	changingDisk
	begins func() // at the first name
	names  atomic.Int64
	begun  atomic.Bool
	each   bool // files can be synced one by one only
}

func (d *walkedOn) SyncAll() error {
	if d.each {
		return vfs.ErrNotSupported
	}
	return d.changingDisk.SyncAll()
}

func (d *walkedOn) List(name string) iter.Seq2[vfs.Entry, error] {
	if d.begins == nil || name != "A" || d.begun.Swap(true) {
		return d.changingDisk.List(name)
	}
	d.begins()
	return func(yield func(vfs.Entry, error) bool) {
		for e, err := range d.changingDisk.List(name) {
			for d.names.Add(1) < manyNames && err == nil {
				if !yield(e, nil) {
					return
				}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// TestAPackThatMeetsAFullDiskLeavesTheReserve: it puts aside, so it gives nothing back, whether the disk gets full
// while it removes or the open goes on with it. It ends when there is room, and the reserve was not necessary.
func TestAPackThatMeetsAFullDiskLeavesTheReserve(t *testing.T) {
	t.Parallel()
	for _, format := range []layout.Format{layout.Bundled, layout.Chunky} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			d := newFullOnDemand(t, format)
			d.full(func(op errfs.Op) bool {
				return strings.HasPrefix(op.Name, "A/") && !strings.Contains(op.Name, "packed")
			})
			if _, err := d.s.Pack(t.Context(), zodb.PackOptions{}); !errors.Is(err, zodb.ErrDiskFull) {
				t.Errorf("pack: %v", err)
			}
			if !d.reserved() || d.space.free.Load() != 0 {
				t.Errorf("the reserve is there: %t, %d bytes are free", d.reserved(), d.space.free.Load())
			}
			if err := d.s.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) { // its lists have no room
				t.Fatal(err)
			}
			d.s = open(t, d.s.Home(), d.o)
			if err := d.s.WaitPack(t.Context()); !errors.Is(err, zodb.ErrDiskFull) || !d.reserved() {
				t.Errorf("going on: %v, the reserve is there: %t", err, d.reserved())
			}
			d.f.Decide(nil)
			d.space.free.Store(1 << 40)
			doPack(t, d.s, zodb.PackOptions{})
			if exists(t, d.s, d.goes) {
				t.Error("the pack did not go on")
			}
			if err := errors.Join(d.s.Close(), sound(t.Context(), d.f, false)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestADryRunBesideAFlushThatIsStuck: it goes by what is in A, and leaves the reserve.
func TestADryRunBesideAFlushThatIsStuck(t *testing.T) {
	t.Parallel()
	for _, format := range []layout.Format{layout.Bundled, layout.Chunky} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			d := newFullOnDemand(t, format)
			commit(t, d.s, change{oid: 0, data: rec("root once more")})
			d.full(func(op errfs.Op) bool {
				return strings.HasPrefix(op.Name, "A/") || strings.HasPrefix(op.Name, "journal/aside")
			})
			if err := d.s.Flush(t.Context()); !errors.Is(err, zodb.ErrDiskFull) {
				t.Fatalf("flush: %v", err)
			}
			r, err := d.s.Pack(t.Context(), zodb.PackOptions{DryRun: true})
			if err != nil || r.Objects != 1 || r.Revisions < 3 || !d.reserved() {
				t.Errorf("%+v, %v; the reserve is there: %t", r, err, d.reserved())
			}
			d.f.Decide(nil)
			d.space.free.Store(1 << 40)
			if err := d.s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := load(t, d.s, 0); got != string(rec("root once more")) {
				t.Errorf("the root is %q", got)
			}
		})
	}
}

// fullOnDemand is a storage with delay_delete on a disk that gets full when it is told so.
type fullOnDemand struct {
	s     *Storage
	o     Options
	f     *errfs.FS
	space *changingDisk
	goes  zodb.OID // a pack removes it
}

func newFullOnDemand(t *testing.T, format layout.Format) *fullOnDemand {
	t.Helper()
	home := newHome(t, CreateOptions{Format: string(format), Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "86400"}})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	d := &fullOnDemand{space: &changingDisk{FS: dir}}
	d.space.free.Store(1 << 40)
	d.f = errfs.New(d.space, nil)
	d.o = Options{fs: d.f, Reserve: 1 << 20, RetryInterval: time.Millisecond}
	d.s = open(t, home, d.o)
	eventually(t, "a reserve", d.reserved)
	d.goes = newOIDs(t, d.s, 1)[0]
	commit(t, d.s, change{oid: 0, data: rec("root", d.goes)}, change{oid: d.goes, data: rec("goes")})
	commit(t, d.s, change{oid: d.goes, data: rec("goes, again")})
	commit(t, d.s, change{oid: 0, data: rec("root again")})
	if err := errors.Join(d.s.WaitNormal(t.Context()), d.s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	return d
}

// reserved reports whether the reserve is there.
func (d *fullOnDemand) reserved() bool {
	_, err := d.space.Stat(space.ReserveFile)
	return err == nil
}

// full leaves no room from the first of some operations on.
func (d *fullOnDemand) full(first func(errfs.Op) bool) {
	full{d.f}.set(func(op errfs.Op) bool {
		if first(op) {
			d.space.free.Store(0)
		}
		return first(op)
	})
}

// manyNames takes some seconds, while a close takes none.
const manyNames = 1 << 18

// TestACloseEndsTheLookWhetherAPackFreesAnything: of a large storage that takes minutes.
func TestACloseEndsTheLookWhetherAPackFreesAnything(t *testing.T) {
	t.Parallel()
	s, disk := newWalkedOn(t, false)
	disk.free.Store(0)
	disk.wantEnded(t, s, func() error {
		_, err := s.Pack(t.Context(), zodb.PackOptions{})
		return err
	})
}

// TestACloseEndsAnUndelete: the files that are put aside may be few, and those that it has to look at many.
// Where the files found by the open could not be synced all at once, it first looks for directories that it relies on.
func TestACloseEndsAnUndelete(t *testing.T) {
	t.Parallel()
	for _, each := range []bool{false, true} {
		t.Run(map[bool]string{false: "all synced", true: "each synced"}[each], func(t *testing.T) {
			t.Parallel()
			s, disk := newWalkedOn(t, each)
			disk.wantEnded(t, s, func() error {
				_, err := s.Undelete(t.Context(), 0)
				return err
			})
		})
	}
}

func newWalkedOn(t *testing.T, each bool) (*Storage, *walkedOn) {
	t.Helper()
	home := newHome(t, CreateOptions{Format: "chunky", Set: map[string]string{"storage.delay_delete": "86400"}})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	disk := &walkedOn{changingDisk: changingDisk{FS: dir}, each: each}
	disk.free.Store(1 << 40)
	s := open(t, home, Options{fs: disk, Reserve: 1 << 20})
	eventually(t, "a reserve", func() bool { _, err := dir.Stat(space.ReserveFile); return err == nil })
	commit(t, s, change{oid: 0, data: rec("root")})
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	return s, disk
}

// wantEnded closes a storage while work on it looks at A.
func (d *walkedOn) wantEnded(t *testing.T, s *Storage, work func() error) {
	t.Helper()
	closed := make(chan error, 1)
	d.begins = func() { go func() { closed <- s.Close() }() }
	err := work()
	if n := d.names.Load(); !errors.Is(err, zodb.ErrClosed) || n == 0 || n >= manyNames {
		t.Errorf("%d names were looked at: %v", n, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
