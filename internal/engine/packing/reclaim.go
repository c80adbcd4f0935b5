package packing

import (
	"context"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Reclaim gives back now the space of removals: it removes files for good that were
// put aside longer than delay_delete ago, and has every file written again that has members gone for
// good. It waits for packs and snapshot mode. Purged are the files that were removed as such; the rest is in
// the counts of the Reclaimer.
//
// When ctx ends it stops between two files, and the space given back stays free. If there is
// no room to write one file again, the error matches zodb.ErrDiskFull, and all others are done.
func (s *Packer) Reclaim(ctx context.Context) (purged store.Occupied, err error) {
	if !s.o.Home.Full {
		return purged, fmt.Errorf("reclaim: %w: a storage of class Minimal has no history", zodb.ErrUnsupported)
	}
	release, err := s.beginMaintenance(ctx, s.givesBack)
	if err != nil {
		return purged, err
	}
	defer release()
	ctx, cancel := s.untilClose(ctx)
	defer cancel()
	p, stop := s.report()
	defer stop()
	before := s.o.Clock().Add(-s.o.Home.Settings.Storage.DelayDelete).Unix()
	err = p.persist(ctx, func() error {
		// The removals of a pack that ended early may not be on the disk.
		if err := s.o.State.RunTask(ctx, func() (bool, error) { return true, s.o.Store.Sync() }); err != nil {
			return err
		}
		n, err := s.purge(ctx, before, p)
		purged.Files += n.Files
		purged.Bytes += n.Bytes
		return err
	})
	if err == nil {
		p.givingBack()
		err = s.o.Reclaimer.Reclaim(ctx, 0)
	}
	if err != nil {
		err = whyEnded(ctx, err)
		s.o.Log.Warn("giving space back ended", "err", err)
		return purged, fmt.Errorf("give space back: %w", vfs.WithFull(err))
	}
	return purged, nil
}

// givingBack begins the phase.
func (p *progress) givingBack() { p.phase("giving space back", 0) }
