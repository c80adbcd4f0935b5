package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// carriedLists returns how many bundles of A carry a list of members that can come back.
func carriedLists(f vfs.FS) (n int, err error) {
	for e, err := range f.List("A/bundles") {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return 0, err
		}
		if _, number, ok := bundle.ParseName(e.Name); !ok || number > 0 {
			continue
		}
		b, err := f.ReadFile("A/bundles/" + e.Name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was merged meanwhile
		}
		if err != nil {
			return 0, err
		}
		r, err := bundle.Open(bytes.NewReader(b), int64(len(b)), e.Name)
		if err != nil {
			return 0, err
		}
		if r.Carried() != nil {
			n++
		}
	}
	return n, nil
}

// carryFaults makes a job that reclaims, in bundles from which another pack has put members aside,
// the space of one pack's removals, and then takes that other pack back. carried counts the jobs in
// which lists were carried.
func (c packCase) carryFaults(t *testing.T, carried *atomic.Int64) func(disk *crashfs.FS) (*faulttest.Job, error) {
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		if err := c.home(disk); err != nil {
			return nil, err
		}
		o := c.options(disk)
		clock, later := o.Clock, time.Duration(0)
		o.Clock = func() time.Time { return clock().Add(later) }
		s, m, err := c.filled(t.Context(), o, 24)
		if err != nil {
			return nil, err
		}
		pack := func(at int) (*packModel, int64) {
			before := m.clone()
			po := zodb.PackOptions{Time: m.txns[at].tid.Time()}
			r := doPack(t, s, po)
			m.pack(zodb.TIDFromTime(po.Time), true)
			if r.Revisions == 0 {
				t.Error("the pack has removed nothing")
			}
			return before, r.Stamp
		}
		pack(10)
		if err := s.Close(); err != nil {
			return nil, err
		}
		later = 24 * time.Hour
		if s, err = Open(t.Context(), "", o); err != nil {
			return nil, err
		}
		rnd := rand.New(rand.NewPCG(c.seed, 8))
		for range 4 {
			if err := m.commit(t.Context(), s, rnd); err != nil && !errors.Is(err, zodb.ErrDangling) && !errors.Is(err, zodb.ErrUndo) {
				return nil, err
			}
		}
		if err := s.Flush(t.Context()); err != nil {
			return nil, err
		}
		unpacked, stamp := pack(20)
		if err := errors.Join(s.Close(), disk.SyncAll()); err != nil {
			return nil, err
		}
		return storageJob(t, o, func(f vfs.FS, s *Storage) error {
			if _, err := s.Reclaim(t.Context(), ReclaimOptions{}); err != nil {
				return err
			}
			if n, err := carriedLists(f); err == nil && n > 0 {
				carried.Add(1)
			}
			_, err := s.Undelete(t.Context(), stamp)
			return err
		}, func(s *Storage, after *crashfs.FS, _ bool) error {
			if r, err := s.Reclaim(t.Context(), ReclaimOptions{}); err != nil || r.GoneBytes != 0 {
				return fmt.Errorf("another one gives %+v: %w", r, err)
			}
			if err := m.verify(t.Context(), s); err != nil {
				return err
			}
			if _, err := s.Undelete(t.Context(), stamp); err != nil {
				return err
			}
			if err := unpacked.verify(t.Context(), s); err != nil {
				return fmt.Errorf("after the undelete: %w", err)
			}
			return errors.Join(s.Close(), damaged(t.Context(), after))
		}), nil
	}
}

// carries runs the jobs, and makes sure that lists are carried by their work: without a fault, where merges in the
// background have left nothing to carry in the few jobs of a sample.
func carries(t *testing.T, seed uint64, fails bool) {
	const set = "storage.min_pack_time=0 storage.delay_delete=3600"
	var carried atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		withinPacks(t, seed, set, fails, func(c packCase, t *testing.T) func(disk *crashfs.FS) (*faulttest.Job, error) {
			return c.carryFaults(t, &carried)
		})
	})
	c := packCase{format: "bundled", seed: seed, set: set}
	for range 100 {
		if carried.Load() > 0 || t.Failed() {
			return
		}
		disk := crashfs.New(int64(c.seed))
		job, err := c.carryFaults(t, &carried)(disk)
		if err == nil {
			err = job.Run(disk)
			job.End()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("no bundle carried a list: the work is not what it was")
}

// TestKilledWhileListsAreCarriedThenPowerCut: the members that one pack put aside come back from
// bundles that are written again for another pack, at whatever operation the process is killed and
// the power is cut.
func TestKilledWhileListsAreCarriedThenPowerCut(t *testing.T) {
	t.Parallel()
	carries(t, 700, false)
}

// TestErrorWhileListsAreCarriedThenPowerCut lets each operation fail once; it is repeated.
func TestErrorWhileListsAreCarriedThenPowerCut(t *testing.T) {
	t.Parallel()
	carries(t, 750, true)
}
