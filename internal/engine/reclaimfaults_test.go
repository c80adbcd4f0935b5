package engine

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// reclaimFaults makes a job that gives back the space of removed members.
func (c packCase) reclaimFaults(t *testing.T) func(disk *crashfs.FS) (*faulttest.Job, error) {
	return func(disk *crashfs.FS) (*faulttest.Job, error) {
		if err := c.home(disk); err != nil {
			return nil, err
		}
		o := c.options(disk)
		s, m, err := c.filled(t.Context(), o, 24)
		if err != nil {
			return nil, err
		}
		po := zodb.PackOptions{Time: m.txns[16].tid.Time()}
		if r := doPack(t, s, po); r.Revisions == 0 {
			return nil, errors.New("the pack has removed nothing")
		}
		m.pack(zodb.TIDFromTime(po.Time), true)
		if err := errors.Join(s.Close(), disk.SyncAll()); err != nil {
			return nil, err
		}
		return storageJob(t, o, func(_ vfs.FS, s *Storage) error {
			_, err := s.Reclaim(t.Context(), ReclaimOptions{})
			return err
		}, func(s *Storage, after *crashfs.FS, done bool) error {
			r, err := s.Reclaim(t.Context(), ReclaimOptions{})
			if err != nil || r.GoneBytes != 0 || done && r.Rewritten > 0 {
				return fmt.Errorf("another one gives %+v, done %t: %w", r, done, err)
			}
			return errors.Join(m.verify(t.Context(), s), s.Close(), sound(t.Context(), after, false))
		}), nil
	}
}

// TestKilledWhileSpaceIsGivenBackThenPowerCut: nothing that is read changes, and another one goes on.
func TestKilledWhileSpaceIsGivenBackThenPowerCut(t *testing.T) {
	t.Parallel()
	withinPacks(t, 900, "storage.min_pack_time=0 storage.delay_delete=0", false, packCase.reclaimFaults)
}

// TestErrorWhileSpaceIsGivenBackThenPowerCut lets each operation fail once; it is repeated.
func TestErrorWhileSpaceIsGivenBackThenPowerCut(t *testing.T) {
	t.Parallel()
	withinPacks(t, 950, "storage.min_pack_time=0 storage.delay_delete=0", true, packCase.reclaimFaults)
}
