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

// TestReclaimOnAFullDisk: only the reserve has room for a bundle that is written again, and that is enough.
func TestReclaimOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 96<<20)
	home := filepath.Join(disk, "home")
	set := map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "86400"}
	if err := Create(home, CreateOptions{Format: string(layout.Bundled), Set: set}); err != nil {
		t.Fatal(err)
	}
	o := Options{SegmentSize: 1 << 20, Reserve: 4 << 20, LowSpace: 16 << 20}
	s := open(t, home, o)
	eventually(t, "a reserve", func() bool { _, err := os.Stat(filepath.Join(home, space.ReserveFile)); return err == nil })
	big := incompressible(200 << 10)
	for i := range 100 {
		commit(t, s, change{oid: 0, data: rec(fmt.Sprint(i) + big)})
	}
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if result, err := s.Pack(t.Context(), zodb.PackOptions{}); err != nil || result.Revisions < 90 {
		t.Fatalf("pack: %+v, %v", result, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fillUp(t, filepath.Join(disk, "filler"))
	o.Clock = func() time.Time { return time.Now().Add(25 * time.Hour) }
	s = open(t, home, o)
	r, err := s.Reclaim(t.Context(), ReclaimOptions{SinceOpen: true})
	if err != nil || r.Bytes < 10<<20 || r.GoneBytes != 0 || len(r.Aside) != 0 {
		t.Errorf("reclaim: %+v, %v", r, err)
	}
	if sp, err := s.home.FS.Space(); err != nil || sp.FreeBytes < 10<<20 {
		t.Errorf("when it returns %d bytes are free, %v", sp.FreeBytes, err)
	}
	if got := load(t, s, 0); got != string(rec("99"+big)) {
		t.Error("it is not what was acknowledged last")
	}
}

// TestWhatAPackPutAsideComesBackOnAFullDisk: when delay_delete has passed, bundles of which most is gone
// are written again without another pack, although only the reserve has room for that.
func TestWhatAPackPutAsideComesBackOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 96<<20)
	home := filepath.Join(disk, "home")
	set := map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "86400"}
	if err := Create(home, CreateOptions{Format: string(layout.Bundled), Set: set}); err != nil {
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
	for i := range 100 {
		commit(t, s, change{oid: 0, data: rec(fmt.Sprint(i) + big)})
	}
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if result, err := s.Pack(t.Context(), zodb.PackOptions{}); err != nil || result.Revisions < 90 {
		t.Fatalf("pack: %+v, %v", result, err)
	}
	eventually(t, "a reserve after the pack", there)
	fillUp(t, filepath.Join(disk, "filler"))
	if got := load(t, s, 0); got != string(rec("99"+big)) || !there() {
		t.Fatal("the reserve is given up for nothing, or it is not what was acknowledged last")
	}
	later.Store(int64(25 * time.Hour))
	eventually(t, "space", func() bool { sp, err := s.home.FS.Space(); return err == nil && sp.FreeBytes > 10<<20 })
	eventually(t, "a reserve again", there)
	if got := load(t, s, 0); got != string(rec("99"+big)) {
		t.Error("it is not what was acknowledged last")
	}
	eventually(t, "commits", func() bool {
		_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("again")})
		return err == nil
	})
}
