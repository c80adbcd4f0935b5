package classic

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// sides returns both, in the order in which files move: so none slips through.
func sides() [2]store.Side { return [2]store.Side{store.B, store.A} }

// found is a file of the database.
type found struct {
	path string // relative to HOME
	name layout.Name
}

// walk yields the files of one side that have database names. There may be no B: a copy of a
// snapshot has none.
func (t *Store) walk(ctx context.Context, side store.Side) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		for p, err := range vfs.Walk(t.fs, string(side)) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(found{}, err)
				return
			}
			if n, ok := t.o.Format.Parse(p[len(side)+1:]); ok && !yield(found{p, n}, nil) {
				return
			}
		}
	}
}

// Objects implements [store.Lister].
func (t *Store) Objects(ctx context.Context) iter.Seq2[zodb.OID, error] {
	return func(yield func(zodb.OID, error) bool) {
		for _, side := range sides() {
			for f, err := range t.walk(ctx, side) {
				if err != nil {
					yield(0, err)
					return
				}
				if f.name.Kind != layout.KindPointer && f.name.Kind != layout.KindObject {
					continue
				}
				if side == store.A {
					if _, err := t.fs.Stat(t.Path(store.B, f.name)); err == nil {
						continue
					}
				}
				if !yield(f.name.OID, nil) {
					return
				}
			}
		}
	}
}

// Names implements [store.Lister]. A transaction that it does not yield is relied on to be gone.
func (t *Store) Names(ctx context.Context, kinds ...layout.Kind) iter.Seq2[layout.Name, error] {
	return func(yield func(layout.Name, error) bool) {
		if slices.Contains(kinds, layout.KindTransaction) {
			for err := range t.relyOnRemovals(layout.KindTransaction) {
				if err = cmp.Or(err, ctx.Err()); err != nil {
					yield(layout.Name{}, err)
					return
				}
			}
		}
		for _, side := range sides() {
			for f, err := range t.walk(ctx, side) {
				if err != nil {
					yield(layout.Name{}, err)
					return
				}
				n := f.name
				if n.Kind == layout.KindPointer {
					n.Kind = layout.KindObject
				}
				if slices.Contains(kinds, n.Kind) && !yield(n, nil) {
					return
				}
			}
		}
	}
}

// NextOID implements [store.Lister]. It lists few directories, but of formats lawn and flat one
// with all objects.
func (t *Store) NextOID(ctx context.Context, from zodb.OID) (next zodb.OID, any bool, err error) {
	for _, side := range sides() {
		names := vfs.Names(t.fs, string(side))
		oid, found, err := t.o.Format.NextOID(from, func(dir string) iter.Seq2[string, error] {
			if err := ctx.Err(); err != nil {
				return func(yield func(string, error) bool) { yield("", err) }
			}
			return names(dir)
		})
		if err != nil {
			return 0, false, err
		}
		if found && (!any || oid < next) {
			next, any = oid, true
		}
	}
	return next, any, nil
}

// OlderRevision implements [store.Lister]. It lists a directory of each side.
func (t *Store) OlderRevision(oid zodb.OID, before zodb.TID) (older zodb.TID, err error) {
	dir := path.Dir(t.o.Format.Path(layout.Revision(oid, before)))
	for _, side := range sides() {
		for e, err := range t.fs.List(path.Join(string(side), dir)) {
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return 0, err
			}
			n, ok := t.o.Format.Parse(path.Join(dir, e.Name))
			if ok && n.Kind == layout.KindRevision && n.OID == oid && n.TID < before {
				older = max(older, n.TID)
			}
		}
	}
	return older, nil
}

// OlderTransaction implements [store.Lister]. It lists directories.
func (t *Store) OlderTransaction(before zodb.TID) (older zodb.TID, err error) {
	for _, side := range sides() {
		tid, err := t.o.Format.OlderTransaction(before, vfs.Names(t.fs, string(side)))
		if err != nil {
			return 0, err
		}
		older = max(older, tid)
	}
	return older, nil
}

// Count implements [store.Lister], by the names and sizes of files.
func (t *Store) Count(ctx context.Context, sides ...store.Side) (n store.Counts, err error) {
	for _, side := range sides {
		for f, err := range t.walk(ctx, side) {
			if err == nil {
				err = t.count(&n, f, side)
			}
			if err != nil {
				return store.Counts{}, err
			}
		}
	}
	return n, nil
}

func (t *Store) count(n *store.Counts, f found, side store.Side) error {
	if f.name.Kind == layout.KindPointer || f.name.Kind == layout.KindObject {
		if side == store.B {
			if _, err := t.fs.Stat(t.Path(store.A, f.name)); err == nil {
				return nil
			}
		}
		n.Objects++
		if f.name.Kind == layout.KindPointer {
			return nil
		}
	}
	info, err := t.fs.Stat(f.path)
	if err != nil {
		return err
	}
	switch f.name.Kind {
	case layout.KindRevision, layout.KindObject:
		n.Revisions++
	case layout.KindTransaction:
		n.Transactions++
	case layout.KindBlob:
		n.Blobs++
		n.BlobBytes += info.Size
	default:
		return nil
	}
	n.Bytes += info.Size
	return nil
}
