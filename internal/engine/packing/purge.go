package packing

import (
	"context"
)

// purge removes the files for good that earlier packs put aside, if delay_delete has
// passed.
func (s *Packer) purge(ctx context.Context, before int64, p *progress) (files int64, err error) {
	p.phase("removing deleted files", 0)
	purger := s.o.Store.Purge(before)
	defer purger.Close()
	err = s.o.State.RunTask(ctx, func() (bool, error) {
		n, done, err := purger.Step(stepFiles)
		files += n
		p.done.Add(n)
		return done, err
	})
	return files, err
}
