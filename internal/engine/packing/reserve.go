package packing

import (
	"context"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/zodb"
)

// worthTheReserve reports whether a pack may take the reserve of a full disk. A dry run writes nothing, and
// does without. A pack that gives nothing back at once is refused: while delay_delete is over 0 it puts aside
// what it removes, so only earlier removals can become free space.
func (s *Packer) worthTheReserve(ctx context.Context, o zodb.PackOptions) (bool, error) {
	delay := s.o.Home.Settings.Storage.DelayDelete
	if o.DryRun {
		return false, nil
	}
	if delay == 0 || o.IgnoreSpace || !s.o.Space.TakesReserve(roomForPack) {
		return true, nil
	}
	if worth, err := s.givesBack(ctx); worth || err != nil {
		return worth, err
	}
	return false, fmt.Errorf("pack: %w: %w: its removals are put aside for %s (delay_delete), and no earlier ones are that old",
		zodb.ErrDiskFull, zodb.ErrFreesNothing, human.Duration(delay))
}

// takesReserve reports whether a pack that meets a full disk on its way may give up the reserve: if it gives
// something back, or was told to take it.
func (p *progress) takesReserve(ctx context.Context) bool {
	p.worthOnce.Do(func() {
		p.worth = p.s.o.Home.Settings.Storage.DelayDelete == 0 || p.ignoreSpace
		if !p.worth && !p.dryRun {
			worth, err := p.s.givesBack(ctx)
			p.worth = worth && err == nil
		}
	})
	return p.worth && !p.dryRun
}

// givesBack reports whether earlier packs have removed something that can become free space now.
func (s *Packer) givesBack(ctx context.Context) (bool, error) {
	space, err := s.o.Store.Space(ctx)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	// Damage, for one, is for the pack to tell.
	return err != nil || space.Removed.Public(space.Inside, s.o.Home.Settings.Storage.DelayDelete).Free(s.o.Clock()) > 0, nil
}
