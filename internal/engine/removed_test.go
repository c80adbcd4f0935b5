//go:build linux

package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// near reports whether two numbers of bytes differ by a third at most.
func near(a, b int64) bool { return a > 0 && b > 0 && 3*max(a-b, b-a) <= max(a, b) }

// TestStatusTellsWhatPacksHaveRemoved: how much is put aside, and until when; how much is gone for good
// in bundles; and how much was given back. A process that only reads estimates it.
func TestStatusTellsWhatPacksHaveRemoved(t *testing.T) {
	t.Parallel()
	s, home, later := wasted(t, "bundled", "86400")
	st := s.Status()
	use, err := s.DiskUse(t.Context())
	if err != nil || st.Removed == nil || st.GaveBackBytes != 0 {
		t.Fatalf("removed is %+v, given back %d, %v", st.Removed, st.GaveBackBytes, err)
	}
	if diff := cmp.Diff(use.Removed, *st.Removed); diff != "" || len(use.Aside) != 1 || use.Aside[0].Bytes < 50<<10 || use.GoneBytes != 0 {
		t.Errorf("looked at: %+v; the status differs:\n%s", use.Removed, diff)
	}
	if free := st.Removed.Free(time.Now()); free != 0 {
		t.Errorf("%d bytes are free to be given back", free)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	read := open(t, home, Options{ReadOnly: true}).Status().Removed
	if read == nil || len(read.Aside) != 1 || read.Aside[0].Files != use.Aside[0].Files || read.Aside[0].Until != use.Aside[0].Until || read.Aside[0].Bytes == 0 {
		t.Errorf("one that reads says %+v, want about %+v", read, use.Removed)
	}
	s = open(t, home, Options{Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	later.Store(int64(25 * time.Hour))
	if free := s.Status().Removed.Free(s.o.Clock()); free == 0 { // perhaps an estimate
		t.Errorf("when it is over %d bytes are free to be given back", free)
	}
	r, err := s.Reclaim(t.Context(), ReclaimOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if st := s.Status(); st.GaveBackBytes != r.Bytes || st.Removed.GoneBytes != 0 || len(st.Removed.Aside) != 0 {
		t.Errorf("after %+v: given back %d, %+v", r, st.GaveBackBytes, st.Removed)
	}
	s, _, _ = wasted(t, "bundled", "0")
	if r := s.Status().Removed; r == nil || r.GoneBytes < 50<<10 || len(r.Aside) != 0 || r.Free(time.Now()) != r.GoneBytes {
		t.Errorf("with delay_delete 0: %+v", r)
	}
	s, _, _ = wasted(t, "chunky", "86400")
	if r := s.Status().Removed; r != nil {
		t.Errorf("of a file for each revision: %+v", r)
	}
}

// TestPackTellsWhatIsFreeAtOnceAndWhatLater: in both kinds of format, with delay_delete and without.
func TestPackTellsWhatIsFreeAtOnceAndWhatLater(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bundled", "chunky"} {
		for _, delay := range []string{"0", "86400"} {
			t.Run(format+" "+delay, func(t *testing.T) {
				t.Parallel()
				s, _, later := toBeWasted(t, format, delay)
				commit(t, s, change{oid: 1, data: rec("blob"), blob: strings.Repeat("blob", 10000)})
				commit(t, s, change{oid: 1, data: rec("none")})
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				before := bytesOfA(t, s)
				r := doPack(t, s, zodb.PackOptions{})
				freed, until := before-bytesOfA(t, s), time.Unix(r.Stamp, 0).Add(24*time.Hour).UTC()
				const blob = 40000
				switch format + delay {
				case "bundled0":
					if r.FreedBytes < blob || r.FreedBytes > blob+100 || r.LaterBytes < 50<<10 || !r.LaterFrom.IsZero() {
						t.Errorf("%+v", r)
					}
					// The small bundle of the blob, of which half is gone, may be written again by now.
					if gone := s.Status().Removed.GoneBytes; gone > r.LaterBytes || gone < r.LaterBytes-1000 {
						t.Errorf("%d bytes are gone, and the pack tells %d", gone, r.LaterBytes)
					}
				case "chunky0":
					if !near(r.FreedBytes, freed) || r.LaterBytes != 0 || !r.LaterFrom.IsZero() {
						t.Errorf("%+v; A has %d bytes less", r, freed)
					}
				default:
					use, err := s.DiskUse(t.Context())
					if err != nil || r.FreedBytes != 0 || len(use.Aside) != 1 || !near(r.LaterBytes, use.Aside[0].Bytes) || r.LaterFrom != until {
						t.Errorf("%+v; aside are %+v, %v", r, use.Aside, err)
					}
				}
				if delay == "0" {
					return
				}
				later.Store(int64(25 * time.Hour))
				before = bytesOfA(t, s)
				again := doPack(t, s, zodb.PackOptions{})
				if freed := before - bytesOfA(t, s); again.LaterBytes != 0 || again.Purged == 0 || format == "chunky" && again.FreedBytes != freed || again.FreedBytes < blob {
					t.Errorf("when delay_delete has passed: %+v; A has %d bytes less", again, freed)
				}
			})
		}
	}
}

// TestDryRunTellsWhatAReclaimWouldGive: how much now, and how much when.
func TestDryRunTellsWhatAReclaimWouldGive(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"bundled", "chunky"} {
		s, _, later := wasted(t, format, "86400")
		r := doPack(t, s, zodb.PackOptions{DryRun: true})
		use, err := s.DiskUse(t.Context())
		if err != nil || r.Removed == nil || cmp.Diff(*r.Removed, use.Removed) != "" || r.Removed.Free(s.o.Clock()) != 0 || len(r.Removed.Aside) != 1 {
			t.Errorf("%s: %+v, want %+v, %v", format, r.Removed, use.Removed, err)
		}
		later.Store(int64(25 * time.Hour))
		free := r.Removed.Free(s.o.Clock())
		given, err := s.Reclaim(t.Context(), ReclaimOptions{})
		if err != nil || free < 50<<10 || !near(free, given.Bytes) {
			t.Errorf("%s: it says %d, a reclaim gives %+v, %v", format, free, given, err)
		}
		if r := doPack(t, s, zodb.PackOptions{DryRun: true}); r.Removed.Free(s.o.Clock()) != 0 || len(r.Removed.Aside) != 0 {
			t.Errorf("%s: after that %+v", format, r.Removed)
		}
	}
}

// TestIdleStorageGivesSpaceBackWhenDelayDeleteIsOver: nobody commits or packs, and nobody opens it
// anew: a timer has it done. In snapshot mode it waits for the end of that.
func TestIdleStorageGivesSpaceBackWhenDelayDeleteIsOver(t *testing.T) {
	t.Parallel()
	for _, snapshot := range []bool{false, true} {
		t.Run(fmt.Sprint("snapshot ", snapshot), func(t *testing.T) {
			t.Parallel()
			s, _, later := toBeWasted(t, "bundled", "864000")
			big := incompressible(20 << 10)
			for oid := range zodb.OID(9) { // more than half of all
				commit(t, s, change{oid: oid, data: rec(fmt.Sprint("three", oid) + big)})
			}
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := doPack(t, s, zodb.PackOptions{NoGC: true})
			if st := s.Status(); len(st.Removed.Aside) != 1 || st.Removed.GoneBytes != 0 || st.GaveBackBytes != 0 {
				t.Errorf("before: %+v, given back %d", st.Removed, st.GaveBackBytes)
			}
			if snapshot {
				if err := s.EnterSnapshot(t.Context(), "test"); err != nil {
					t.Fatal(err)
				}
			}
			later.Store(int64(time.Until(r.LaterFrom))) // in a second it is over
			s.state.Wake()
			if snapshot {
				before := bundlesOf(t, s.home.FS, "A")
				later.Add(int64(time.Hour))
				commit(t, s, change{oid: 0, data: rec("meanwhile")})
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				if st := s.Status(); !slices.Equal(before, bundlesOf(t, s.home.FS, "A")) || st.GaveBackBytes != 0 {
					t.Errorf("in snapshot mode: %+v, given back %d", st.Removed, st.GaveBackBytes)
				}
				if err := s.LeaveSnapshot(t.Context(), "test"); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "space back", func() bool {
				st := s.Status()
				return len(st.Removed.Aside) == 0 && st.GaveBackBytes > 50<<10
			})
		})
	}
}

// TestReclaimWaitsForTheEndOfASnapshot: A stands still until then.
func TestReclaimWaitsForTheEndOfASnapshot(t *testing.T) {
	t.Parallel()
	s, _, _ := wasted(t, "bundled", "0")
	if err := s.EnterSnapshot(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	before := bundlesOf(t, s.home.FS, "A")
	ended := make(chan error, 1)
	var r ReclaimResult
	go func() {
		var err error
		r, err = s.Reclaim(t.Context(), ReclaimOptions{})
		ended <- err
	}()
	eventually(t, "waiting", func() bool { return strings.Contains(s.PackProgress().Waiting, "snapshot mode") })
	commit(t, s, change{oid: 0, data: rec("meanwhile")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := bundlesOf(t, s.home.FS, "A"); !slices.Equal(before, after) || len(ended) > 0 {
		t.Errorf("A has %v, had %v", after, before)
	}
	if err := s.LeaveSnapshot(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || r.Bytes < 50<<10 || r.GoneBytes != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestReclaimBesideCommitsAndLoads: nobody reads anything older than an acknowledged change, and
// all of them are there at the end.
func TestReclaimBesideCommitsAndLoads(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	s, home, _ := wasted(t, "bundled", "0")
	oids := newOIDs(t, s, 6)
	acknowledged := make([]atomic.Int64, len(oids))
	root := []change{{oid: 0, data: rec("root", oids...)}}
	for _, oid := range oids {
		root = append(root, change{oid: oid, data: rec("step 0 ")})
	}
	commit(t, s, root...)
	var stop atomic.Bool
	var writers, others sync.WaitGroup
	for i, oid := range oids {
		writers.Go(func() {
			for n := int64(1); n <= 60; n++ {
				if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: oid, data: rec(fmt.Sprintf("step %d %s", n, incompressible(2<<10)))}); err != nil {
					t.Error(err)
					return
				}
				acknowledged[i].Store(n)
			}
		})
		others.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for !stop.Load() {
				k := rnd.IntN(len(oids))
				least := acknowledged[k].Load()
				r, err := s.Load(t.Context(), oids[k])
				if n := stepOf(string(r.Data)); err != nil || n < least {
					t.Errorf("object %s is at %d, %d was acknowledged, %v", oids[k], n, least, err)
					return
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { writers.Wait(); close(written) }()
	gave := int64(0)
	for last := false; !last; {
		select {
		case <-written:
			last = true // once more
		default:
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		doPack(t, s, zodb.PackOptions{})
		// Between the pack and this the storage may give all of it back by itself.
		r, err := s.Reclaim(t.Context(), ReclaimOptions{SinceOpen: true})
		if err != nil {
			t.Error(err)
		}
		gave = r.Bytes
	}
	stop.Store(true)
	others.Wait()
	if gave == 0 {
		t.Error("nothing was given back")
	}
	for i, oid := range oids {
		if n := stepOf(load(t, s, oid)); n != acknowledged[i].Load() {
			t.Errorf("object %s is at %d, want %d", oid, n, acknowledged[i].Load())
		}
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

// stepOf reads the number that a record of the test has.
func stepOf(data string) (n int64) {
	_, after, _ := strings.Cut(data, "step ")
	if _, err := fmt.Sscanf(after, "%d ", &n); err != nil {
		return -1
	}
	return n
}
