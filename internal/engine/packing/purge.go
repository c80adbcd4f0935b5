package packing

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/store"
)

// purge removes the files for good that earlier packs put aside, if delay_delete has
// passed.
func (s *Packer) purge(ctx context.Context, before int64, p *progress) (removed store.Occupied, err error) {
	p.phase("removing deleted files", 0)
	purger := s.o.Store.Purge(before)
	defer purger.Close()
	err = s.o.State.RunTask(ctx, func() (bool, error) {
		n, done, err := purger.Step(stepFiles)
		removed.Files += n.Files
		removed.Bytes += n.Bytes
		p.done.Add(n.Files)
		return done, err
	})
	return removed, err
}
