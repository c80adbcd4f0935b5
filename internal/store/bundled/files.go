package bundled

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// BlobFiles implements [store.Filer].
func (s *Store) BlobFiles(oid zodb.OID, tid zodb.TID) []string { return s.files.BlobFiles(oid, tid) }

// Files implements [store.Filer]: superseded files are left out.
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

// FilesSince implements [store.Filer]: the bundles and gone lists that the copy does not
// have, and the blobs of later transactions. If the content of the copy is not known, they are the
// bundles that have something later, and all lists, because their numbers do not tell when they were
// made. x.packed is always among them: it explains the gaps in lists and bundles.
func (s *Store) FilesSince(ctx context.Context, last zodb.TID, has func(path string) bool, lost func(text string)) iter.Seq2[string, error] {
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
		if err := s.since(ctx, v, last, has, lost, yield); err != nil {
			yield("", err)
		}
	}
}

func (s *Store) since(ctx context.Context, v *view, last zodb.TID, has func(string) bool, lost func(string), yield func(string, error) bool) error {
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
		if err := ctx.Err(); err != nil {
			return err
		}
		if list := dirOf(p.side) + "/" + p.name.Gone(p.number); p.number > 0 && (has == nil || !has(list)) && !yield(list, nil) {
			return nil
		}
		if wanted := p.name.Max > last; (has == nil && wanted || has != nil && !has(p.path)) && !yield(p.path, nil) {
			return nil
		} else if !wanted {
			continue
		}
		if v.gapBelow(i) && p.Previous > last {
			lost(fmt.Sprintf("the bundle before %s is missing: it ended with transaction %s", p.path, p.Previous))
		}
		if more, err := s.blobsSince(ctx, p, last, lost, yield); err != nil || !more {
			return err
		}
	}
	marks := []layout.Name{layout.XOID, layout.XSerial}
	if packed > 0 { // also one before last: the lists and bundles leave out its removals
		marks = append(marks, layout.XPacked)
	}
	for _, n := range marks {
		if !yield(s.files.Path(store.A, n), nil) {
			return nil
		}
	}
	return nil
}

// blobsSince yields the blobs of later transactions in a bundle, and reports whether more is wanted.
func (s *Store) blobsSince(ctx context.Context, p *part, last zodb.TID, lost func(string), yield func(string, error) bool) (bool, error) {
	if p.Blobs == 0 {
		return true, nil
	}
	for e, err := range p.revisions(ctx) {
		if err != nil {
			return false, err
		}
		if e.TID <= last || e.Flags&bundle.FlagBlob == 0 {
			continue
		}
		path := s.files.Path(store.A, layout.Blob(e.OID, e.TID))
		switch _, err := s.fs.Stat(path); {
		case errors.Is(err, fs.ErrNotExist):
			lost(fmt.Sprintf("%s is missing: revision %s of object %s has a blob", s.fs.Path(path), e.TID, e.OID))
		case err != nil:
			return false, err
		case !yield(path, nil):
			return false, nil
		}
	}
	return true, nil
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
