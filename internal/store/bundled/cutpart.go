package bundled

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// cutPart puts the part of a bundle that is not left out, as a bundle of its own, with the list of what
// is gone of it. If nothing was committed since the copy below, that has all of it.
func (c *cut) cutPart() (err error) {
	f, err := c.o.Home.Open(cutBundle)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	path := dirOf(store.A) + "/" + c.part.String()
	if err := c.scan(path, io.NewSectionReader(f, 0, c.partSize)); err != nil {
		return err
	}
	r, err := bundle.Open(f, c.partSize, path)
	if err == nil {
		err = agrees(r, c.part, path)
	}
	if err != nil {
		return err
	}
	p := &partCut{left: roaring.New()}
	if err := p.choose(r, c.o.Last); err != nil {
		return err
	}
	if p.last <= c.o.Base {
		return nil
	}
	gone := r.Carried()
	if list, ok := c.lists[c.part]; ok {
		if gone, err = bundle.ParseGone(list.content, dirOf(store.A)+"/"+c.part.Gone(list.number), &r.Info); err != nil {
			return err
		}
	}
	return c.putPart(r, bundle.Name{Min: r.Min, Max: p.last, Generation: r.Generation}, p, gone)
}

// putPart writes the bundle. It carries the list of what is gone of it.
func (c *cut) putPart(r *bundle.Reader, n bundle.Name, p *partCut, gone *bundle.Gone) error {
	in, out := io.Pipe()
	written := make(chan error, 1)
	go func() {
		_, err := bundle.Merge(context.Background(), out, bundle.Options{
			Identity: r.Identity, Min: n.Min, Max: n.Max, Generation: n.Generation, Previous: r.Previous, HighestOID: r.HighestOID, Workers: workers(),
		}, []bundle.Source{{Reader: r, Gone: gone, Drop: func(number int64) bool { return p.left.Contains(uint32(number)) }}})
		out.CloseWithError(err)
		written <- err
	}()
	err := c.o.Put(dirOf(store.A)+"/"+n.String(), in)
	in.CloseWithError(err)
	werr := <-written
	if err == nil {
		err = werr
	}
	return err
}

// partCut says which members of a bundle are left out.
type partCut struct {
	left *roaring.Bitmap
	last zodb.TID // the newest transaction that is not
}

func (p *partCut) choose(r *bundle.Reader, to zodb.TID) error {
	return r.EachMember(func(n layout.Name, number int64) {
		if n.TID > to {
			p.left.Add(uint32(number))
		} else {
			p.last = max(p.last, n.TID)
		}
	})
}

// pull turns a sequence into a function that returns its next item, and whether there is one.
func pull[E any](seq iter.Seq2[E, error]) (next func() (E, bool, error), stop func()) {
	step, stop := iter.Pull2(seq)
	return func() (E, bool, error) {
		e, err, ok := step()
		return e, ok && err == nil, err
	}, stop
}
