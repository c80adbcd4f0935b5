package bundled

import (
	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

var _ store.Nearer = (*Store)(nil)

// near reads revisions of one view, so the directories are looked at once.
type near struct {
	s  *Store
	v  *view
	at bundle.Near
}

// Near implements [store.Nearer].
func (s *Store) Near() (store.Near, error) {
	v, err := s.get()
	if err != nil {
		return nil, err
	}
	return &near{s: s, v: v}, nil
}

// Get implements [store.Near].
func (n *near) Get(name layout.Name) (data []byte, place string, err error) {
	place = n.v.place(name)
	if n.s.closed.Load() {
		return nil, place, zodb.ErrClosed
	}
	i := n.v.of(name.TID)
	if name.Kind != layout.KindRevision || i < 0 {
		return nil, place, missing(name, place)
	}
	p := &n.v.parts[i]
	e, number, err := n.at.Find(p.Reader, name.OID, name.TID)
	if err == nil && (number < 0 || p.gone.Has(number)) {
		err = missing(name, place)
	}
	if err == nil {
		data, err = n.at.Read(p.Reader, e.Place, name)
	}
	if err != nil {
		return nil, place, err
	}
	return data, place, nil
}

// Release implements [store.Near].
func (n *near) Release() error { return n.v.release() }
