package bundled

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/store"
)

// Space implements [store.Filer]. Members that packs have removed inside a bundle are counted; their
// bytes are their share of the bundle, by their contents.
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
	r, err := s.weigh(ctx, v)
	if err != nil {
		return store.Space{}, err
	}
	space.Inside, space.Removed.Gone = true, r.Gone
	for stamp, n := range r.Aside {
		space.Removed.Aside[stamp] = sum(space.Removed.Aside[stamp], n)
	}
	return space, nil
}

// Removed implements [store.Filer].
func (s *Store) Removed() (r store.Removed, inside bool) {
	if last := s.removed.Load(); last != nil {
		return *last, true
	}
	v, err := s.get()
	if err != nil {
		return r, true // reads have the error, too
	}
	defer v.release()
	return v.estimate(), true
}

// Weigh implements [store.Filer].
func (s *Store) Weigh(ctx context.Context) (store.Removed, error) {
	v, err := s.get()
	if err != nil {
		return store.Removed{}, err
	}
	defer v.release()
	return s.weigh(ctx, v)
}

func (s *Store) weigh(ctx context.Context, v *view) (store.Removed, error) {
	r, err := v.removed(ctx)
	if err != nil {
		return r, err
	}
	s.catalogue.mu.RLock()
	defer s.catalogue.mu.RUnlock()
	if v == s.catalogue.now { // else a pack has removed more meanwhile
		s.removed.Store(&r)
	}
	return r, nil
}

// estimate is removed without a look into the indexes, as if all members were of one size.
func (v *view) estimate() store.Removed {
	r := store.Removed{Aside: make(map[int64]store.Occupied)}
	for i := range v.parts {
		p := &v.parts[i]
		if p.gone == nil {
			continue
		}
		for _, set := range p.gone.Sets {
			n := int64(set.Members.GetCardinality())
			share := float64(n) / float64(max(1, p.Revisions+p.Transactions))
			addRemoved(&r, set.Stamp, store.Occupied{Files: n, Bytes: int64(share * float64(p.size))})
		}
	}
	return r
}

// removed returns the removals of packs inside bundles.
func (v *view) removed(ctx context.Context) (store.Removed, error) {
	r := store.Removed{Aside: make(map[int64]store.Occupied)}
	for i := range v.parts {
		p := &v.parts[i]
		if p.gone == nil {
			continue
		}
		w, err := v.waste(ctx, i)
		if err != nil {
			return r, err
		}
		for k, set := range p.gone.Sets {
			share := float64(w.sets[k].Bytes) / float64(max(1, w.all))
			addRemoved(&r, set.Stamp, store.Occupied{Files: w.sets[k].Files, Bytes: int64(share * float64(p.size))})
		}
	}
	return r, nil
}

// addRemoved adds the removals of one stamp; 0: they are gone for good.
func addRemoved(r *store.Removed, stamp int64, n store.Occupied) {
	if stamp == 0 {
		r.Gone = sum(r.Gone, n)
	} else {
		r.Aside[stamp] = sum(r.Aside[stamp], n)
	}
}

func sum(a, b store.Occupied) store.Occupied {
	return store.Occupied{Files: a.Files + b.Files, Bytes: a.Bytes + b.Bytes}
}
