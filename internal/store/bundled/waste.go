package bundled

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/bundle"
)

// waste is how much of a bundle packs have removed for good.
type waste struct {
	number uint64 // of the list of what is gone
	// gone and all are bytes of contents.
	gone, all int64
}

// waste returns that of a part.
func (v *view) waste(ctx context.Context, i int) (waste, error) {
	p := &v.parts[i]
	if w := p.opened.waste.Load(); w != nil && w.number == p.number {
		return *w, nil
	}
	w := waste{number: p.number}
	gone := p.gone.ForGood()
	if gone == nil {
		return w, nil
	}
	number := int64(0)
	for e, err := range remaining(ctx, p.RevisionsFrom(0), 0, nil) {
		if err != nil {
			return waste{}, err
		}
		w.all += int64(e.Length)
		if gone.Contains(uint32(number)) {
			w.gone += int64(e.Length)
		}
		number++
	}
	for e, err := range remaining(ctx, p.TransactionsFrom(0), number, nil) {
		if err != nil {
			return waste{}, err
		}
		w.all += int64(e.Length)
		if gone.Contains(uint32(number)) {
			w.gone += int64(e.Length)
		}
		number++
	}
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
			if speaks, err = v.speaksOf(e); speaks {
				return true, err
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

// wasteful returns the part with the most to be had back of those of which enough is gone
// for good, and nothing can be brought back; -1: there is none.
func (c *chore) wasteful(ctx context.Context) (int, error) {
	v := c.v
	best, most := -1, int64(0)
	for i := range v.parts {
		p := &v.parts[i]
		if p.gone.ForGood() == nil || p.gone.Aside() || p.damaged.Load() || !c.fits(p.size) {
			continue
		}
		w, err := v.waste(ctx, i)
		if err != nil {
			return -1, err
		}
		if w.gone == 0 || float64(w.gone) < c.o.Least*float64(w.all) || w.gone <= most {
			continue
		}
		speaks, err := v.speaks(ctx, i)
		if err != nil {
			return -1, err
		}
		if !speaks {
			best, most = i, w.gone
		}
	}
	return best, nil
}
