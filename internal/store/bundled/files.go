package bundled

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// BlobFiles implements [store.Filer].
func (s *Store) BlobFiles(oid zodb.OID, tid zodb.TID) []string { return s.files.BlobFiles(oid, tid) }

// Space implements [store.Filer].
func (s *Store) Space(ctx context.Context) (store.Space, error) { return s.files.Space(ctx) }

// Files implements [store.Filer]: what does not count is left out.
func (s *Store) Files(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		v, err := s.get()
		if err != nil {
			yield("", err)
			return
		}
		defer v.release()
		for name, err := range s.files.Files(ctx) {
			if err == nil && slices.Contains(v.leftovers, name) {
				continue
			}
			if !yield(name, err) || err != nil {
				return
			}
		}
	}
}

// FilesSince implements [store.Filer]: the bundles that have something later, whole; the blobs of
// what is later; all lists of what is gone, because their numbers do not tell when they were
// made.
func (s *Store) FilesSince(ctx context.Context, last zodb.TID, lost func(text string)) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		v, err := s.get()
		if err != nil {
			yield("", err)
			return
		}
		defer v.release()
		if lost == nil {
			lost = func(string) {}
		}
		if err := s.since(ctx, v, last, lost, yield); err != nil {
			yield("", err)
		}
	}
}

func (s *Store) since(ctx context.Context, v *view, last zodb.TID, lost func(string), yield func(string, error) bool) error {
	packed, err := s.files.Mark(layout.XPacked)
	if err != nil {
		return err
	}
	if err := v.leadsTo(last, zodb.TID(packed)); err != nil {
		return err
	}
	for i := range v.parts {
		p := &v.parts[i]
		if p.side != store.A {
			continue
		}
		if p.number > 0 && !yield(dirOf(p.side)+"/"+p.name.Gone(p.number), nil) {
			return nil
		}
		if p.name.Max <= last {
			continue
		}
		if v.gapBelow(i) && p.Previous > last {
			lost(fmt.Sprintf("the bundle before %s is missing: it ended with transaction %s", p.path, p.Previous))
		}
		if !yield(p.path, nil) {
			return nil
		}
		if p.Blobs == 0 {
			continue
		}
		for e, err := range p.revisions(ctx) {
			if err != nil {
				return err
			}
			if e.TID <= last || e.Flags&bundle.FlagBlob == 0 {
				continue
			}
			if !yield(s.files.Path(store.A, layout.Blob(e.OID, e.TID)), nil) {
				return nil
			}
		}
	}
	marks := []layout.Name{layout.XOID, layout.XSerial}
	if zodb.TID(packed) > last {
		marks = append(marks, layout.XPacked)
	}
	for _, n := range marks {
		if !yield(s.files.Path(store.A, n), nil) {
			return nil
		}
	}
	return nil
}

// leadsTo returns an error if a transaction is no part of the history, unless a pack explains
// that it is not there.
func (v *view) leadsTo(tid, packed zodb.TID) error {
	if tid == 0 || tid <= packed || tid >= v.last() {
		return nil
	}
	_, _, number, err := v.transaction(tid)
	if err == nil && number < 0 {
		err = fmt.Errorf("%s, with which the reference ends, is not part of this history", tid)
	}
	return err
}
