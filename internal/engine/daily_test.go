//go:build linux

package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestBusyHomeWithDailyPacksStaysBounded: with a pack a day and ten days of delay_delete a home
// takes up its live data, the removals of ten days of packs, and a fraction more; and the removals
// come back.
func TestBusyHomeWithDailyPacksStaysBounded(t *testing.T) {
	t.Parallel()
	const objects, size, delay = 60, 4 << 10, 10
	days := hometest.OneOf(40, 40, 30)
	home := newHome(t, CreateOptions{Format: "bundled", Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "864000"}})
	var later atomic.Int64
	s := open(t, home, Options{Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	big := incompressible(size * (objects + 12*days + 2))
	oids := newOIDs(t, s, objects)
	made := 0
	record := func() []byte {
		made++
		return rec(fmt.Sprintf("%d %s", made, big[made*size:][:size]))
	}
	changes := []change{{oid: 0, data: rec("root", oids...)}}
	for _, oid := range oids {
		changes = append(changes, change{oid: oid, data: record()})
	}
	commit(t, s, changes...)
	rnd := rand.New(rand.NewPCG(3, 4))
	var aside []int64 // by day, revisions
	var stamp int64
	for d := range days {
		later.Store(int64(d) * int64(24*time.Hour))
		for range 3 {
			var changes []change
			for _, k := range rnd.Perm(objects)[:4] {
				changes = append(changes, change{oid: oids[k], data: record()})
			}
			commit(t, s, changes...)
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r := doPack(t, s, zodb.PackOptions{})
		aside, stamp = append(aside, r.Revisions), r.Stamp
	}
	later.Add(int64(time.Hour)) // nothing is flushed for a while
	s.state.Wake()
	kept := int64(objects)
	for _, n := range aside[days-delay-1:] {
		kept += n
	}
	// A record is a part of a frame with others, and in base 64, which compresses to three quarters.
	most := kept * size / 7 * 10
	var is int64
	eventually(t, "little space", func() bool { is = bytesOfA(t, s); return is <= most })
	t.Logf("%d bytes for %d revisions that are there or aside, %d were made; %d bytes were given back", is, kept, made, s.Status().GaveBackBytes)
	if int64(made)*size*3/4 < most {
		t.Errorf("%d revisions were made, which is not much more than the %d that are kept", made, kept)
	}
	if n, err := carriedLists(s.home.FS); err != nil || n == 0 {
		t.Errorf("%d bundles carry a list, %v", n, err)
	}
	r, err := s.Undelete(t.Context(), stamp)
	if err != nil || r.Revisions != aside[days-1] {
		t.Errorf("of %d revisions that the last pack put aside came back %+v: %v", aside[days-1], r, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dir, err := vfs.OS(home)
	if err = errors.Join(err, sound(t.Context(), dir, false)); err != nil {
		t.Error(err)
	}
}
