package bundled

import (
	"context"
	"iter"
	"slices"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// checkEvery is after how many entries a walk looks whether its context has ended.
const checkEvery = 1024

// Objects implements [store.Lister]. It reads the indexes.
func (s *Store) Objects(ctx context.Context) iter.Seq2[zodb.OID, error] {
	return func(yield func(zodb.OID, error) bool) {
		v, err := s.get()
		if err != nil {
			yield(0, err)
			return
		}
		defer v.release()
		for o, err := range v.objects(ctx) {
			if err != nil {
				yield(0, err)
				return
			}
			if o.there && !yield(o.oid, nil) {
				return
			}
		}
	}
}

// Names implements [store.Lister].
func (s *Store) Names(ctx context.Context, kinds ...layout.Kind) iter.Seq2[layout.Name, error] {
	return func(yield func(layout.Name, error) bool) {
		for _, names := range []iter.Seq2[layout.Name, error]{s.members(ctx, kinds), s.objectNames(ctx, kinds), s.files.Names(ctx, kinds...)} {
			for n, err := range names {
				if !yield(n, err) || err != nil {
					return
				}
			}
		}
	}
}

func (s *Store) objectNames(ctx context.Context, kinds []layout.Kind) iter.Seq2[layout.Name, error] {
	return func(yield func(layout.Name, error) bool) {
		if !slices.Contains(kinds, layout.KindObject) {
			return
		}
		for oid, err := range s.Objects(ctx) {
			if !yield(layout.Object(oid), err) {
				return
			}
		}
	}
}

// members yields the names of revisions and transactions.
func (s *Store) members(ctx context.Context, kinds []layout.Kind) iter.Seq2[layout.Name, error] {
	return func(yield func(layout.Name, error) bool) {
		v, err := s.get()
		if err != nil {
			yield(layout.Name{}, err)
			return
		}
		defer v.release()
		for i := range v.parts {
			p := &v.parts[i]
			if slices.Contains(kinds, layout.KindRevision) {
				for e, err := range p.revisions(ctx) {
					if !yield(e.Name(), err) || err != nil {
						return
					}
				}
			}
			if slices.Contains(kinds, layout.KindTransaction) {
				for e, err := range p.transactions(ctx) {
					if !yield(e.Name(), err) || err != nil {
						return
					}
				}
			}
		}
	}
}

// revisions yields those that are not gone.
func (p *part) revisions(ctx context.Context) iter.Seq2[bundle.Revision, error] {
	return remaining(ctx, p.RevisionsFrom(0), 0, p.gone)
}

// transactions yields those that are not gone.
func (p *part) transactions(ctx context.Context) iter.Seq2[bundle.Transaction, error] {
	return remaining(ctx, p.TransactionsFrom(0), p.member(0), p.gone)
}

// remaining leaves out members that are gone; the first entry has a number. It ends with its first error.
func remaining[E any](ctx context.Context, entries iter.Seq2[E, error], number int64, gone *bundle.Gone) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		var none E
		if err := ctx.Err(); err != nil {
			yield(none, err)
			return
		}
		for e, err := range entries {
			if err == nil && number%checkEvery == 0 {
				err = ctx.Err()
			}
			if err != nil {
				yield(none, err)
				return
			}
			if !gone.Has(number) && !yield(e, nil) {
				return
			}
			number++
		}
	}
}

// NextOID implements [store.Lister].
func (s *Store) NextOID(ctx context.Context, from zodb.OID) (next zodb.OID, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	v, err := s.get()
	if err != nil {
		return 0, false, err
	}
	defer v.release()
	for i := range v.parts {
		p := &v.parts[i]
		number, err := p.From(from)
		if err != nil {
			return 0, false, err
		}
		for e, err := range remaining(ctx, p.RevisionsFrom(number), number, p.gone) {
			if err != nil {
				return 0, false, err
			}
			if !found || e.OID < next {
				next, found = e.OID, true
			}
			break
		}
	}
	return next, found, nil
}

// OlderRevision implements [store.Lister].
func (s *Store) OlderRevision(oid zodb.OID, before zodb.TID) (zodb.TID, error) {
	v, err := s.get()
	if err != nil {
		return 0, err
	}
	defer v.release()
	return v.olderRevision(oid, before)
}

// olderRevision returns the newest revision before a tid that is not gone; 0: there is none.
func (v *view) olderRevision(oid zodb.OID, before zodb.TID) (zodb.TID, error) {
	for before > 0 {
		p, e, number, err := v.before(oid, before-1)
		if err != nil || number < 0 {
			return 0, err
		}
		if !p.gone.Has(number) {
			return e.TID, nil
		}
		before = e.TID
	}
	return 0, nil
}

// OlderTransaction implements [store.Lister].
func (s *Store) OlderTransaction(before zodb.TID) (zodb.TID, error) {
	v, err := s.get()
	if err != nil || before == 0 {
		return 0, err
	}
	defer v.release()
	for {
		older, err := v.olderTransaction(before)
		if err != nil || older == 0 {
			return 0, err
		}
		if v.of(older) >= 0 {
			return older, nil
		}
		before = older // of a bundle that is lost
	}
}

// Count implements [store.Lister], by the indexes, and the sizes of blobs.
func (s *Store) Count(ctx context.Context, sides ...store.Side) (store.Counts, error) {
	n, err := s.files.Count(ctx, sides...)
	if err != nil {
		return store.Counts{}, err
	}
	v, err := s.get()
	if err != nil {
		return store.Counts{}, err
	}
	defer v.release()
	for i := range v.parts {
		p := &v.parts[i]
		if !slices.Contains(sides, p.side) {
			continue
		}
		for e, err := range p.revisions(ctx) {
			if err != nil {
				return store.Counts{}, err
			}
			n.Revisions++
			n.Bytes += int64(e.Length)
		}
		for e, err := range p.transactions(ctx) {
			if err != nil {
				return store.Counts{}, err
			}
			n.Transactions++
			n.Bytes += int64(e.Length)
		}
	}
	for o, err := range v.objects(ctx) {
		if err != nil {
			return store.Counts{}, err
		}
		side := store.B
		if o.inA {
			side = store.A
		}
		if o.there && slices.Contains(sides, side) {
			n.Objects++
		}
	}
	return n, nil
}
