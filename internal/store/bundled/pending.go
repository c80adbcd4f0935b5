package bundled

import (
	"maps"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
)

// pending are removals by packs that are not on the disk yet. A crash undoes them, and the plan of
// the pack has them done again. It is of the goroutine that puts.
type pending struct {
	lists map[bundle.Name]*bundle.Gone // by their bundles
	blobs map[layout.Name]int64        // the stamps with which they go
}

// manyBlobs is how many blobs are removed at a time: their names are in memory until then.
const manyBlobs = 1 << 16

func newPending() pending {
	return pending{lists: make(map[bundle.Name]*bundle.Gone), blobs: make(map[layout.Name]int64)}
}

func (p *pending) empty() bool { return len(p.lists) == 0 && len(p.blobs) == 0 }

// Sync implements [store.Writer]: removals by packs become durable, too: first the gone
// lists, then the blobs.
func (s *Store) Sync() error {
	if s.pending.empty() {
		return s.files.Sync()
	}
	if err := s.sure(); err != nil {
		return err
	}
	v := s.view()
	defer v.release()
	if len(s.pending.lists) > 0 {
		if err := s.putGone(v, s.pending.lists); err != nil {
			return err
		}
		s.pending.lists = make(map[bundle.Name]*bundle.Gone)
	}
	byStamp := make(map[int64][]layout.Name)
	for name, stamp := range s.pending.blobs {
		byStamp[stamp] = append(byStamp[stamp], name)
	}
	for stamp, names := range byStamp {
		files := s.files.NewRemoval(stamp)
		for _, name := range names {
			if _, _, err := files.Remove(name); err != nil {
				return err
			}
		}
		if err := files.Sync(); err != nil {
			return err
		}
		maps.DeleteFunc(s.pending.blobs, func(_ layout.Name, at int64) bool { return at == stamp })
	}
	return s.files.Sync()
}

// settled is [Store.Sync], if packs have removed something that is on the disk. It is called by
// operations that cannot run with removals pending.
func (s *Store) settled() error {
	if s.pending.empty() {
		return s.sure()
	}
	return s.Sync()
}

// applyPending gives a part the list that packs have made.
func (s *Store) applyPending(p *part) {
	if gone, ok := s.pending.lists[p.name]; ok {
		p.gone = gone
	}
}

var _ store.Writer = (*Store)(nil)
