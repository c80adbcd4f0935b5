package bundled

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// damagedDir is where bundles are put that a crash has left without their content.
const damagedDir = "misc/damaged"

// verifyAdopted reads the bundles wholly that are later than x.serial, before they are adopted. A
// crash may have left the name of one without all of its content, where nothing is synced, or
// where a disk loses synced data. The log has all of it, so such a bundle is put aside, with those
// behind it, and is put again.
func (s *Store) verifyAdopted() error {
	mark, known, err := s.marked()
	if err != nil || !known {
		return err
	}
	for {
		bundles, _, err := s.list()
		if err != nil {
			return err
		}
		all := make([]bundle.Name, 0, len(bundles))
		for n := range bundles {
			all = append(all, n)
		}
		live, _, err := bundle.Live(all)
		if err != nil {
			return nil //nolint:nilerr // reload says that
		}
		first, damage, err := s.firstDamaged(live, bundles, mark)
		if err == nil && damage != nil {
			err = s.refuseNewer()
		}
		if err != nil || damage == nil {
			return err
		}
		// The last one first: a crash in between leaves none behind a gap.
		for _, n := range slices.Backward(live[first:]) {
			if err := s.putAside(bundles[n].side, n); err != nil {
				return fmt.Errorf("put a damaged bundle aside: %w", err)
			}
		}
		if s.o.Warn != nil {
			s.o.Warn("bundles that are not whole after a crash were put aside into "+damagedDir+"; the log puts their transactions again", damage)
		}
	}
}

// firstDamaged returns which is the first bundle behind x.serial that is not whole, or behind
// a gap, and why.
func (s *Store) firstDamaged(live []bundle.Name, bundles map[bundle.Name]listed, mark zodb.TID) (first int, damage *zodb.CorruptError, err error) {
	for i, n := range live {
		if n.Min <= mark {
			continue
		}
		before := zodb.TID(0)
		if i > 0 {
			before = live[i-1].Max
		}
		err := s.verify(n, bundles[n].side, before)
		if damage, ok := errors.AsType[*zodb.CorruptError](err); ok {
			return i, damage, nil
		}
		if err != nil {
			return 0, nil, err
		}
	}
	return 0, nil, nil
}

// verify reads a bundle wholly.
func (s *Store) verify(n bundle.Name, side store.Side, before zodb.TID) error {
	p, err := s.open(n, side, before)
	if err != nil {
		return err
	}
	if err = p.Verify(); err == nil && p.Previous > before {
		err = lost(p.Previous)
	}
	return errors.Join(err, s.pool.close(p.opened))
}

// putAside gives a bundle a name outside of A and B.
func (s *Store) putAside(side store.Side, n bundle.Name) error {
	from, to := dirOf(side)+"/"+n.String(), damagedDir+"/"+n.String()
	if err := s.fs.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.files.MoveBeside(from, to); err != nil {
		return err
	}
	return s.files.Sync()
}
