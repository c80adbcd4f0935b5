//go:build linux

package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// nearlyFull is a storage on a small disk with a reserve and many revisions of one object.
type nearlyFull struct {
	s           *Storage
	o           Options
	disk, home  string
	big, newest string       // the largest part of each revision, and the newest one
	later       atomic.Int64 // that much is the clock ahead
}

// newNearlyFull returns one with delay_delete, of which all is in A.
func newNearlyFull(t *testing.T, format layout.Format, revisions int) *nearlyFull {
	t.Helper()
	d := &nearlyFull{disk: smallDisk(t, 96<<20), big: incompressible(200 << 10)}
	d.home = filepath.Join(d.disk, "home")
	set := map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "86400"}
	if err := Create(d.home, CreateOptions{Format: string(format), Set: set}); err != nil {
		t.Fatal(err)
	}
	d.o = Options{SegmentSize: 1 << 20, Reserve: 4 << 20, LowSpace: 16 << 20, RetryInterval: 10 * time.Millisecond, Clock: d.clock}
	d.s = open(t, d.home, d.o)
	eventually(t, "a reserve", d.reserved)
	for i := range revisions {
		d.newest = string(rec(fmt.Sprint(i) + d.big))
		commit(t, d.s, change{oid: 0, data: []byte(d.newest)})
	}
	if err := errors.Join(d.s.WaitNormal(t.Context()), d.s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *nearlyFull) clock() time.Time { return time.Now().Add(time.Duration(d.later.Load())) }

// reserved reports whether the reserve is there.
func (d *nearlyFull) reserved() bool {
	_, err := os.Stat(filepath.Join(d.home, space.ReserveFile))
	return err == nil
}

// fill leaves no room.
func (d *nearlyFull) fill(t *testing.T) {
	t.Helper()
	fillUp(t, filepath.Join(d.disk, "filler"))
}

// hasRoom reports whether so much is free.
func (d *nearlyFull) hasRoom(bytes uint64) bool {
	sp, err := d.s.home.FS.Space()
	return err == nil && sp.FreeBytes > bytes
}

// isNewest looks whether that is current which was acknowledged last.
func (d *nearlyFull) isNewest(t *testing.T) {
	t.Helper()
	if got := load(t, d.s, 0); got != d.newest {
		t.Error("it is not what was acknowledged last")
	}
}

// TestReclaimOnAFullDisk: only the reserve has room for a bundle that is written again, and that is enough.
func TestReclaimOnAFullDisk(t *testing.T) {
	t.Parallel()
	d := newNearlyFull(t, layout.Bundled, 100)
	if result, err := d.s.Pack(t.Context(), zodb.PackOptions{}); err != nil || result.Revisions < 90 {
		t.Fatalf("pack: %+v, %v", result, err)
	}
	if err := d.s.Close(); err != nil {
		t.Fatal(err)
	}
	d.fill(t)
	d.later.Store(int64(25 * time.Hour))
	d.s = open(t, d.home, d.o)
	r, err := d.s.Reclaim(t.Context(), ReclaimOptions{SinceOpen: true})
	if err != nil || r.Bytes < 10<<20 || r.GoneBytes != 0 || len(r.Aside) != 0 {
		t.Errorf("reclaim: %+v, %v", r, err)
	}
	if !d.hasRoom(10 << 20) {
		t.Error("when it returns there is no room")
	}
	d.isNewest(t)
}

// TestWhatAPackPutAsideComesBackOnAFullDisk: when delay_delete has passed, bundles of which most is gone
// are written again without another pack, although only the reserve has room for that.
func TestWhatAPackPutAsideComesBackOnAFullDisk(t *testing.T) {
	t.Parallel()
	d := newNearlyFull(t, layout.Bundled, 100)
	if result, err := d.s.Pack(t.Context(), zodb.PackOptions{}); err != nil || result.Revisions < 90 {
		t.Fatalf("pack: %+v, %v", result, err)
	}
	eventually(t, "a reserve after the pack", d.reserved)
	d.fill(t)
	if d.isNewest(t); !d.reserved() {
		t.Fatal("the reserve is given up for nothing")
	}
	d.later.Store(int64(25 * time.Hour))
	eventually(t, "space", func() bool { return d.hasRoom(10 << 20) })
	eventually(t, "a reserve again", d.reserved)
	d.isNewest(t)
	eventually(t, "commits", func() bool {
		_, err := tryCommit(d.s, zodb.TxnMeta{}, change{oid: 1, data: rec("again")})
		return err == nil
	})
}
