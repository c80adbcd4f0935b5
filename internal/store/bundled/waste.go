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

// listCost bounds the space of a set in the list of a bundle for each 65,536 members, besides 2 bytes for
// each member in it.
const listCost = 32

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
	for _, set := range p.gone.Sets {
		if set.Stamp != 0 { // it is carried over
			kept += listCost + listCost*(number>>16) + 2*int64(set.Members.GetCardinality())
		}
	}
	w.left = min(kept, w.all-w.gone+leftCost*members+diskBlock)
	p.opened.waste.Store(&w)
	return w, nil
}

// going are the members of a part that a merge leaves away: all that are gone for good, but those that speak.
//
// An entry speaks if it is all that tells that an object does not exist: an older revision is there, or
// can be brought back. That is so where an older pack was taken back and a later one was not. It is
// kept, and is in the list of the new bundle.
type going struct {
	members *roaring.Bitmap // nil: nothing goes
	bytes   int64           // of their contents
	// kept is how many members speak, and keptBytes are those of their contents.
	kept, keptBytes int64
}

// going returns that of a part.
func (c *chore) going(ctx context.Context, i int) (going, error) {
	if g, ok := c.leaves[i]; ok {
		return g, nil
	}
	g, err := c.v.going(ctx, i)
	if err == nil {
		if c.leaves == nil {
			c.leaves = make(map[int]going)
		}
		c.leaves[i] = g
	}
	return g, err
}

func (v *view) going(ctx context.Context, i int) (g going, err error) {
	p := &v.parts[i]
	gone := p.gone.ForGood()
	if gone == nil {
		return g, nil
	}
	g.members = gone.Clone()
	number := int64(0)
	for e, err := range remaining(ctx, p.RevisionsFrom(0), 0, nil) {
		if err == nil && gone.Contains(uint32(number)) {
			var speaks bool
			speaks, err = v.speaks(e)
			switch {
			case speaks || v.leftAlone(err): // where nobody knows, it may
				err = nil
				g.members.Remove(uint32(number))
				g.kept++
				g.keptBytes += int64(e.Length)
			case err == nil:
				g.bytes += int64(e.Length)
			}
		}
		if err != nil {
			return going{}, err
		}
		number++
	}
	for e, err := range remaining(ctx, p.TransactionsFrom(0), number, nil) {
		if err != nil {
			return going{}, err
		}
		if gone.Contains(uint32(number)) {
			g.bytes += int64(e.Length)
		}
		number++
	}
	return g, nil
}

// speaks reports whether a revision that is gone for good is all that tells that its object does not exist.
func (v *view) speaks(e bundle.Revision) (bool, error) {
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
		g, err := c.going(ctx, i)
		if err != nil {
			return false, err
		}
		c.o.Claim(w.left + g.keptBytes + leftCost*g.kept)
	}
	c.wasted = true
	return true, c.again(ctx, i)
}

// wasteful returns the part with the most to be had back of those of which enough is gone for good, and
// the rest has room; where space is short the one with the most for that room. -1: there is none.
func (c *chore) wasteful(ctx context.Context) (int, error) {
	v := c.v
	best, most := -1, 0.0
	needs := int64(0) // the least that something needs that has no room
	for i := range v.parts {
		p := &v.parts[i]
		if p.gone.ForGood() == nil || p.damaged.Load() {
			continue
		}
		w, err := v.waste(ctx, i)
		if err != nil {
			return -1, err
		}
		if !c.worth(w.gone, w) || c.value(w.gone, w.left) <= most && c.fits(w.left) {
			continue // at most so much of it goes
		}
		g, err := c.going(ctx, i)
		if err != nil {
			return -1, err
		}
		left := w.left + g.keptBytes + leftCost*g.kept
		value := c.value(g.bytes, left)
		switch {
		case !c.worth(g.bytes, w):
		case !c.fits(left):
			if needs == 0 || left < needs {
				needs = left
			}
		case value > most:
			best, most = i, value
		}
	}
	if best < 0 && needs > 0 && c.o.Reclaim {
		return -1, fmt.Errorf("%w: packs have removed much of some bundles, and there is no room to write the remaining members: up to %s at a time, and %s can be had for that; make room",
			zodb.ErrDiskFull, human.Bytes(needs), human.Bytes(max(0, c.o.Room-1)))
	}
	return best, nil
}

// worth reports whether bytes of contents are enough of a bundle to have them back.
func (c *chore) worth(bytes int64, of waste) bool {
	return bytes > 0 && float64(bytes) >= c.o.Least*float64(of.all)
}

// value orders bundles that are written again, by the bytes that go and those that are left.
func (c *chore) value(bytes, left int64) float64 {
	if c.o.Reclaim {
		return float64(bytes) / float64(left+1)
	}
	return float64(bytes)
}
