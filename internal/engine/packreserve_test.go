//go:build linux

package engine

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
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
			disk := smallDisk(t, 96<<20)
			home := filepath.Join(disk, "home")
			set := map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "86400"}
			if err := Create(home, CreateOptions{Format: string(format), Set: set}); err != nil {
				t.Fatal(err)
			}
			var later atomic.Int64
			clock := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
			o := Options{SegmentSize: 1 << 20, Reserve: 4 << 20, LowSpace: 16 << 20, RetryInterval: 10 * time.Millisecond, Clock: clock}
			s := open(t, home, o)
			reserve := filepath.Join(home, space.ReserveFile)
			there := func() bool { _, err := os.Stat(reserve); return err == nil }
			eventually(t, "a reserve", there)
			big := incompressible(200 << 10)
			for i := range 60 {
				commit(t, s, change{oid: 0, data: rec(fmt.Sprint(i) + big)})
			}
			if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			fillUp(t, filepath.Join(disk, "filler"))
			dry, err := s.Pack(t.Context(), zodb.PackOptions{DryRun: true})
			if err != nil || dry.Revisions < 50 || dry.LaterBytes != dry.Bytes || dry.LaterFrom.Before(clock().Add(23*time.Hour)) || !there() {
				t.Errorf("a dry run: %+v, %v; the reserve is there: %t", dry, err, there())
			}
			if _, err := s.Pack(t.Context(), zodb.PackOptions{}); !errors.Is(err, zodb.ErrFreesNothing) || !errors.Is(err, zodb.ErrDiskFull) || !there() {
				t.Errorf("a pack that frees nothing: %v; the reserve is there: %t", err, there())
			}
			if r, err := s.Reclaim(t.Context(), ReclaimOptions{}); err != nil || r.Bytes != 0 || !there() {
				t.Errorf("a reclaim that frees nothing: %+v, %v; the reserve is there: %t", r, err, there())
			}
			if got := load(t, s, 0); got != string(rec("59"+big)) {
				t.Error("it is not what was acknowledged last")
			}
			if r, err := s.Pack(t.Context(), zodb.PackOptions{IgnoreSpace: true}); err != nil || r.Revisions < 50 || r.FreedBytes != 0 || there() {
				t.Errorf("a pack that ignores it: %+v, %v; the reserve is there: %t", r, err, there())
			}
			if err := os.WriteFile(reserve, make([]byte, 2<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			later.Store(int64(25 * time.Hour))
			if r, err := s.Pack(t.Context(), zodb.PackOptions{}); err != nil {
				t.Errorf("a pack after delay_delete: %+v, %v", r, err)
			}
			eventually(t, "space", func() bool { sp, err := s.home.FS.Space(); return err == nil && sp.FreeBytes > 8<<20 })
			if got := load(t, s, 0); got != string(rec("59"+big)) {
				t.Error("it is not what was acknowledged last")
			}
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

// manyNames takes some seconds, while a close takes none.
const manyNames = 1 << 18

// TestACloseEndsTheLookWhetherAPackFreesAnything: of a large storage that takes minutes.
func TestACloseEndsTheLookWhetherAPackFreesAnything(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{Format: "chunky", Set: map[string]string{"storage.delay_delete": "86400"}})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	disk := &walkedOn{changingDisk: changingDisk{FS: dir}}
	disk.free.Store(1 << 40)
	s := open(t, home, Options{fs: disk, Reserve: 1 << 20})
	eventually(t, "a reserve", func() bool { _, err := dir.Stat(space.ReserveFile); return err == nil })
	commit(t, s, change{oid: 0, data: rec("root")})
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	disk.free.Store(0)
	closed := make(chan error, 1)
	disk.begins = func() { go func() { closed <- s.Close() }() }
	_, err = s.Pack(t.Context(), zodb.PackOptions{})
	if n := disk.names.Load(); !errors.Is(err, zodb.ErrClosed) || n == 0 || n >= manyNames {
		t.Errorf("%d names were looked at: %v", n, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
