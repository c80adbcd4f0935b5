package bundled

import (
	"container/heap"
	"context"
	"iter"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// object is one object, as the indexes have it.
type object struct {
	oid   zodb.OID
	there bool            // it has a current revision
	inA   bool            // A has a revision of it, gone or not
	e     bundle.Revision // the newest, gone or not
	part  *part
}

// cursor is how far the index of one part was read.
type cursor struct {
	part   *part
	next   func() (bundle.Revision, error, bool)
	stop   func()
	e      bundle.Revision
	number int64
}

// cursors is a heap, by oid and tid.
type cursors []*cursor

// Len implements [heap.Interface].
func (c cursors) Len() int { return len(c) }

// Less implements [heap.Interface].
func (c cursors) Less(i, j int) bool {
	a, b := &c[i].e, &c[j].e
	return a.OID < b.OID || a.OID == b.OID && a.TID < b.TID
}

// Swap implements [heap.Interface].
func (c cursors) Swap(i, j int) { c[i], c[j] = c[j], c[i] }

// Push implements [heap.Interface].
func (c *cursors) Push(x any) { *c = append(*c, x.(*cursor)) }

// Pop implements [heap.Interface].
func (c *cursors) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// objects yields each object of which there is an entry, in order of oid. Its memory is a block
// of the index of each bundle.
func (v *view) objects(ctx context.Context) iter.Seq2[object, error] {
	return func(yield func(object, error) bool) {
		list, err := v.cursors()
		defer func() {
			for _, c := range list {
				c.stop()
			}
		}()
		if err != nil {
			yield(object{}, err)
			return
		}
		h := cursors(append([]*cursor(nil), list...))
		heap.Init(&h)
		var o object
		any := false
		for n := 0; len(h) > 0; n++ {
			c := h[0]
			if any && c.e.OID != o.oid {
				if !yield(o, nil) {
					return
				}
				o = object{}
			}
			any = true
			o.oid, o.e, o.part, o.there = c.e.OID, c.e, c.part, !c.part.gone.Has(c.number)
			o.inA = o.inA || c.part.side == store.A
			more, err := c.step()
			if err == nil && n%checkEvery == 0 {
				err = ctx.Err()
			}
			if err != nil {
				yield(object{}, err)
				return
			}
			if more {
				heap.Fix(&h, 0)
			} else {
				heap.Pop(&h)
			}
		}
		if any {
			yield(o, nil)
		}
	}
}

// cursors returns one at the first entry of each part that has any.
func (v *view) cursors() (list []*cursor, err error) {
	for i := range v.parts {
		c := &cursor{part: &v.parts[i], number: -1}
		c.next, c.stop = iter.Pull2(c.part.RevisionsFrom(0))
		more, err := c.step()
		if err != nil || !more {
			c.stop()
		}
		if err != nil {
			return list, err
		}
		if more {
			list = append(list, c)
		}
	}
	return list, nil
}

func (c *cursor) step() (more bool, err error) {
	e, err, ok := c.next()
	if !ok || err != nil {
		return false, err
	}
	c.e = e
	c.number++
	return true, nil
}
