package classic

import (
	"errors"
	"io/fs"
	"iter"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// SetPacked implements [store.Packer].
func (t *Store) SetPacked(tid zodb.TID) error {
	return t.SetMark(store.A, layout.XPacked, record.AppendX(nil, uint64(tid)))
}

// Remove implements [store.Packer]: first the pointers of objects that go altogether, then
// the revisions, then the blobs, each durably before the next; then transactions. So a
// crash never leaves a file that names one that is gone.
func (t *Store) Remove(stamp int64, what store.Removal) (n store.Counts, err error) {
	r := t.NewRemoval(stamp)
	for _, oid := range what.Objects {
		_, removed, err := r.Remove(layout.Pointer(oid))
		if err != nil {
			return n, err
		}
		if removed {
			n.Objects++
		}
	}
	if err := r.Sync(); err != nil {
		return n, err
	}
	if err := r.revisions(what.Revisions, layout.Revision, func(size int64) {
		n.Revisions++
		n.Bytes += size
	}); err != nil {
		return n, err
	}
	before := n
	if err := r.revisions(what.Revisions, layout.Blob, func(size int64) {
		n.Blobs++
		n.Bytes += size
		n.BlobBytes += size
	}); err != nil {
		if stamp != 0 {
			n = before // they keep their names until the sync, so the next attempt counts them
		}
		return n, err
	}
	for _, tid := range what.Transactions {
		size, removed, err := r.Remove(layout.Transaction(tid))
		if err != nil {
			return n, err
		}
		if removed {
			n.Transactions++
			n.Bytes += size
		}
	}
	return n, r.Sync()
}

// revisions removes files of one kind, durably, and tells the size of each that was there.
func (r *Removal) revisions(list []store.Revisions, name func(zodb.OID, zodb.TID) layout.Name, removed func(size int64)) error {
	for _, e := range list {
		for _, tid := range e.TIDs {
			size, there, err := r.Remove(name(e.OID, tid))
			if err != nil {
				return err
			}
			if there {
				removed(size)
			}
		}
	}
	return r.Sync()
}

// Relink implements [store.Packer]: it puts transaction files in place of themselves.
func (t *Store) Relink(links []store.Link) error {
	if len(links) == 0 {
		return nil
	}
	edit := t.NewEdit(store.A)
	for _, l := range links {
		n := layout.Transaction(l.TID)
		data, where, err := t.Get(n)
		if err != nil {
			return err
		}
		r, err := record.ParseTransactionAs(data, where, l.TID, true)
		if err != nil {
			return err
		}
		if r.Previous == l.Previous {
			edit.Right(n)
			continue
		}
		r.Previous = l.Previous
		b, err := r.Append(nil, record.SumKindOf(data))
		if err != nil {
			return err
		}
		if err := edit.Replace(n, b); err != nil {
			return err
		}
	}
	return edit.Sync()
}

// aside is a file of A that a pack put aside.
type aside struct {
	path  string // relative to HOME
	name  layout.Name
	stamp int64
}

// looksAtOnce is after how many names without a file that is put aside a step ends, so that it can be stopped.
const looksAtOnce = 10_000

// asides yields the files of A that packs put aside, and now and then nothing, without a path: then a step has to end.
func (t *Store) asides() iter.Seq2[aside, error] {
	return func(yield func(aside, error) bool) {
		looks := 0
		for name, err := range vfs.Walk(t.fs, string(store.A)) {
			if err != nil {
				yield(aside{}, err)
				return
			}
			if looks++; looks%looksAtOnce == 0 && !yield(aside{}, nil) {
				return
			}
			if !strings.HasSuffix(name, "-deleted") {
				continue
			}
			n, stamp, ok := t.o.Format.ParseDeleted(name[2:])
			if ok && !yield(aside{name, n, stamp}, nil) {
				return
			}
		}
	}
}

// purger unlinks files that were put aside.
type purger struct {
	t    *Store
	next func() (aside, error, bool)
	stop func()
}

// Purge implements [store.Packer].
func (t *Store) Purge(before int64) store.Purger {
	p := &purger{t: t}
	p.next, p.stop = iter.Pull2(func(yield func(aside, error) bool) {
		for a, err := range t.asides() {
			if err == nil && a.path != "" && a.stamp >= before {
				continue
			}
			if !yield(a, err) {
				return
			}
		}
	})
	return p
}

// Close implements [store.Purger].
func (p *purger) Close() { p.stop() }

// Step implements [store.Purger].
func (p *purger) Step(limit int) (removed store.Occupied, done bool, err error) {
	r := p.t.NewRemoval(0)
	for range limit {
		a, walked, ok := p.next()
		if !ok || walked != nil {
			return removed, true, errors.Join(r.Sync(), walked)
		}
		if a.path == "" {
			break
		}
		info, _ := p.t.fs.Stat(a.path) // Unlink has the error
		if err := r.Unlink(a.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, false, err
		}
		removed.Files++
		removed.Bytes += info.Frees()
	}
	return removed, false, r.Sync()
}
