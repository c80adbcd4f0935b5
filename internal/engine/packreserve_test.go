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
