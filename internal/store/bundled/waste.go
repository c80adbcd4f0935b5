package bundled

import (
	"context"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// waste is how much of a bundle packs have removed.
type waste struct {
	of *bundle.Gone // the gone list
	// gone, for good, and all are bytes of contents.
	gone, all int64
	// left bounds the size of the next generation on the disk.
	left int64
	// sets are the removals of each pack, as those of [bundle.Gone]: members, and bytes of contents.
	sets []store.Occupied
}

// leftCost bounds the space of a member that stays, besides its content: its part
// of the tar, which is compressed, and of the index.
const leftCost = 128

// waste returns that of a part.
func (v *view) waste(ctx context.Context, i int) (waste, error) {
	p := &v.parts[i]
	if w := p.opened.waste.Load(); w != nil && w.of == p.gone {
		return *w, nil
	}
	w := waste{of: p.gone, left: p.size}
	if p.gone == nil {
		return w, nil
	}
	gone := p.gone.ForGood()
	w.sets = make([]store.Occupied, len(p.gone.Sets))
	number, members := int64(0), int64(0)
	frames := roaring.New() // of which something stays
	add := func(place bundle.Place) {
		w.all += int64(place.Length)
		for k := range w.sets {
			if p.gone.Sets[k].Members.Contains(uint32(number)) {
				w.sets[k].Files++
				w.sets[k].Bytes += int64(place.Length)
			}
		}
		if gone != nil && gone.Contains(uint32(number)) {
			w.gone += int64(place.Length)
		} else {
			frames.Add(place.Frame)
			members++
		}
		number++
	}
	for e, err := range remaining(ctx, p.RevisionsFrom(0), 0, nil) {
		if err != nil {
			return waste{}, err
		}
		add(e.Place)
	}
	for e, err := range remaining(ctx, p.TransactionsFrom(0), number, nil) {
		if err != nil {
			return waste{}, err
		}
		add(e.Place)
	}
	kept, frame := p.size, uint32(0) // frames are copied, or get smaller
	for f, err := range p.FramesFrom(0) {
		if err != nil {
			return waste{}, err
		}
		if !frames.Contains(frame) {
			kept -= f.Size
		}
		frame++
	}
	w.left = min(kept, w.all-w.gone+leftCost*members+diskBlock)
	p.opened.waste.Store(&w)
	return w, nil
}

// speaks reports whether something that is gone for good of a part is all that tells that an
// object does not exist: an older revision is there, or can be brought back. That is so where an
// older pack was taken back and a later one was not. Such a bundle is left as it is.
func (v *view) speaks(ctx context.Context, i int) (bool, error) {
	p := &v.parts[i]
	gone := p.gone.ForGood()
	if gone == nil {
		return false, nil
	}
	number := int64(0)
	for e, err := range remaining(ctx, p.RevisionsFrom(0), 0, nil) {
		if err == nil && gone.Contains(uint32(number)) {
			var speaks bool
			if speaks, err = v.speaksOf(e); speaks || v.leftAlone(err) {
				return true, nil // where nobody knows, it may
			}
		}
		if err != nil {
			return false, err
		}
		number++
	}
	return false, nil
}

func (v *view) speaksOf(e bundle.Revision) (bool, error) {
	_, newest, _, err := v.newest(e.OID)
	if err != nil || newest.TID != e.TID {
		return false, err
	}
	for tid := e.TID; tid > 0; {
		p, older, number, err := v.before(e.OID, tid-1)
		if err != nil || number < 0 {
			return false, err
		}
		if gone := p.gone.ForGood(); gone == nil || !gone.Contains(uint32(number)) {
			return true, nil
		}
		tid = older.TID
	}
	return false, nil
}

// rewrite writes a bundle again of which enough is gone.
func (c *chore) rewrite(ctx context.Context) (found bool, err error) {
	i, err := c.wasteful(ctx)
	if i < 0 || err != nil {
		return false, err
	}
	if c.o.Claim != nil {
		w, err := c.v.waste(ctx, i)
		if err != nil {
			return false, err
		}
		c.o.Claim(w.left)
	}
	c.wasted = true
	return true, c.again(ctx, i)
}

// wasteful returns the part with the most to be had back of those of which enough is gone
// for good, nothing can be brought back, and the rest has room; where space is short the one
// with the most for that room. -1: there is none.
func (c *chore) wasteful(ctx context.Context) (int, error) {
	v := c.v
	best, most := -1, 0.0
	needs := int64(0) // the least that something needs that has no room
	for i := range v.parts {
		p := &v.parts[i]
		if p.gone.ForGood() == nil || p.gone.Aside() || p.damaged.Load() {
			continue
		}
		w, err := v.waste(ctx, i)
		if err != nil {
			return -1, err
		}
		worth := float64(w.gone)
		if c.o.Reclaim {
			worth /= float64(w.left + 1)
		}
		fits := c.fits(w.left)
		if w.gone == 0 || float64(w.gone) < c.o.Least*float64(w.all) || fits && worth <= most || !fits && needs > 0 && w.left >= needs {
			continue
		}
		speaks, err := v.speaks(ctx, i)
		switch {
		case err != nil:
			return -1, err
		case speaks:
		case fits:
			best, most = i, worth
		default:
			needs = w.left
		}
	}
	if best < 0 && needs > 0 && c.o.Reclaim {
		return -1, fmt.Errorf("%w: packs have removed much of some bundles, and there is no room to write the remaining members: up to %s at a time, and %s can be had for that; make room",
			zodb.ErrDiskFull, human.Bytes(needs), human.Bytes(max(0, c.o.Room-1)))
	}
	return best, nil
}
