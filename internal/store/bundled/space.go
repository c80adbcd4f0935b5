package bundled

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
)

// Space implements [store.Filer]. Members that packs have put aside inside a bundle are counted; their bytes are their share of the bundle, by their contents.
func (s *Store) Space(ctx context.Context) (store.Space, error) {
	space, err := s.files.Space(ctx)
	if err != nil {
		return space, err
	}
	v, err := s.get()
	if err != nil {
		return store.Space{}, err
	}
	defer v.release()
	for i := range v.parts {
		if p := &v.parts[i]; p.gone.Aside() {
			if err := p.addAside(ctx, space.Aside); err != nil {
				return store.Space{}, err
			}
		}
	}
	return space, nil
}

// addAside adds the members of a part that each pack has put aside.
func (p *part) addAside(ctx context.Context, to map[int64]store.Occupied) error {
	var sets []bundle.GoneSet
	for _, set := range p.gone.Sets {
		if set.Stamp != 0 {
			sets = append(sets, set)
		}
	}
	files, lengths := make([]int64, len(sets)), make([]int64, len(sets))
	all, number := int64(0), int64(0)
	add := func(place bundle.Place) {
		all += int64(place.Length)
		for i := range sets {
			if sets[i].Members.Contains(uint32(number)) {
				files[i]++
				lengths[i] += int64(place.Length)
			}
		}
		number++
	}
	for e, err := range remaining(ctx, p.RevisionsFrom(0), 0, nil) {
		if err != nil {
			return err
		}
		add(e.Place)
	}
	for e, err := range remaining(ctx, p.TransactionsFrom(0), number, nil) {
		if err != nil {
			return err
		}
		add(e.Place)
	}
	for i, set := range sets {
		share := float64(lengths[i]) / float64(max(1, all))
		a := to[set.Stamp]
		to[set.Stamp] = store.Occupied{Files: a.Files + files[i], Bytes: a.Bytes + int64(share*float64(p.size))}
	}
	return nil
}
