package bundled

import (
	"path"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	diskBlock = 4 << 10
	// memberCost bounds the space of a record in the tar and the index besides its bytes: the
	// header of the tar, its padding, and the entry. Mostly that is compressed.
	memberCost = 512 + 511 + 28 + 1
	// perWork is how many bytes are one unit of work.
	perWork = 4 << 10
)

// Cost implements [store.Tender]. Work is the growth of a bundle, in units of 4 KiB, and blobs.
func (s *Store) Cost(o store.Outline) store.Cost {
	c := store.Cost{Bytes: int64(64+8*o.Records+o.Meta) + memberCost, Inodes: 1}
	o.Each(func(size int64, _, blob bool) {
		c.Bytes += size + 80 + memberCost
		if blob {
			c.Work++
		}
	})
	c.Work += 1 + int(c.Bytes/perWork)
	c.Bytes = (c.Bytes + diskBlock - 1) / diskBlock * diskBlock
	return c
}

// SyncFound implements [store.Tender]. Where everything cannot be synced at once, the bundles
// that x.serial does not cover are, those that stand for others, which are removed then, and gone lists.
func (s *Store) SyncFound() error {
	if err := s.files.SyncFound(); err != nil {
		return err
	}
	last, err := s.files.Mark(layout.XSerial)
	if err != nil {
		return err
	}
	stands := s.now.standing()
	for _, p := range s.now.parts {
		if p.name.Max > zodb.TID(last) || stands[p.name] {
			if err := s.files.RelyOnBeside(p.path); err != nil {
				return err
			}
		}
		if p.number > 0 {
			if err := s.files.RelyOnBeside(dirOf(p.side) + "/" + p.name.Gone(p.number)); err != nil {
				return err
			}
		}
	}
	for _, side := range s.sides() { // else leftovers that were removed come back in a power cut, in snapshot mode, too
		s.files.RelyOnDirectory(dirOf(side))
	}
	return s.files.Sync()
}

// standing returns the bundles that stand for superseded ones which are there: a process that was killed may
// have left their names in memory only, and the superseded ones are removed.
func (v *view) standing() map[bundle.Name]bool {
	all := make(map[bundle.Name]bool)
	for _, name := range v.leftovers {
		n, number, ok := bundle.ParseName(path.Base(name))
		if i := v.of(n.Min); ok && number == 0 && i >= 0 {
			all[v.parts[i].name] = true
		}
	}
	return all
}
