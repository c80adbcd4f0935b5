package bundled

import (
	"errors"
	"io"
	"io/fs"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// SetPacked implements [store.Packer].
func (s *Store) SetPacked(tid zodb.TID) error {
	return s.files.SetMark(store.A, layout.XPacked, record.AppendX(nil, uint64(tid)))
}

// Relink implements [store.Packer]. Reads of transactions relink them, see
// [view.relink].
func (s *Store) Relink([]store.Link) error { return s.files.Sync() }

// removal is one Remove.
type removal struct {
	s       *Store
	v       *view
	stamp   int64
	marks   []*roaring.Bitmap // by part: its members that go
	counts  []store.Counts    // by part: how much that is
	blobs   []layout.Name
	objects []zodb.OID // that have a current revision, and lose it
}

// Remove implements [store.Packer]. For readers it is done when it returns; the gone lists,
// one for each bundle, are put with the next [Store.Sync], then the blobs are removed. A
// transaction and its revisions are in one bundle, so they go together; lists of several bundles may
// become durable in any order, because the newest revision alone says whether there is an object.
func (s *Store) Remove(stamp int64, what store.Removal) (n store.Counts, err error) {
	if err := errors.Join(s.sure(), s.certain()); err != nil {
		return n, err
	}
	if len(s.pending.blobs) >= manyBlobs {
		if err := s.Sync(); err != nil {
			return n, err
		}
	}
	v := s.view()
	defer v.release()
	r := &removal{s: s, v: v, stamp: stamp, marks: make([]*roaring.Bitmap, len(v.parts)), counts: make([]store.Counts, len(v.parts))}
	if err := r.find(what); err != nil {
		return n, err
	}
	if n, err = r.publish(); err != nil {
		return n, err
	}
	for _, name := range r.blobs {
		if _, twice := s.pending.blobs[name]; twice {
			continue
		}
		size, err := s.files.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			size = -1 // that it is gone may not be durable
		} else if err != nil {
			return n, err
		}
		if s.pending.blobs[name] = stamp; size >= 0 {
			n.Blobs++
			n.Bytes += size
			n.BlobBytes += size
		}
	}
	return n, nil
}

// mark marks a member, and reports whether it was there.
func (r *removal) mark(i int, number int64, length uint32) bool {
	if r.v.parts[i].gone.Has(number) {
		return false
	}
	if r.marks[i] == nil {
		r.marks[i] = roaring.New()
	}
	if !r.marks[i].CheckedAdd(uint32(number)) {
		return false
	}
	r.counts[i].Bytes += int64(length)
	return true
}

func (r *removal) find(what store.Removal) error {
	for _, oid := range what.Objects {
		_, e, number, err := r.v.current(oid)
		if err != nil {
			return err
		}
		if number < 0 {
			continue
		}
		r.objects = append(r.objects, oid)
		if err := r.revision(oid, e.TID); err != nil {
			return err
		}
	}
	for _, e := range what.Revisions {
		for _, tid := range e.TIDs {
			if err := r.revision(e.OID, tid); err != nil {
				return err
			}
		}
	}
	for _, tid := range what.Transactions {
		i := r.v.of(tid)
		if i < 0 {
			continue
		}
		p := &r.v.parts[i]
		e, number, err := p.LatestTransaction(tid)
		if err != nil {
			return err
		}
		if number >= 0 && e.TID == tid && r.mark(i, p.member(number), e.Length) {
			r.counts[i].Transactions++
		}
	}
	return nil
}

// revision marks one, and its blob.
func (r *removal) revision(oid zodb.OID, tid zodb.TID) error {
	i := r.v.of(tid)
	if i < 0 {
		return nil
	}
	e, number, err := r.v.parts[i].Find(oid, tid)
	if err != nil {
		return err
	}
	if number >= 0 && r.mark(i, number, e.Length) {
		r.counts[i].Revisions++
	}
	// An attempt before may have come as far as the list, and not as far as the blob.
	if number < 0 || e.Flags&bundle.FlagBlob != 0 {
		r.blobs = append(r.blobs, layout.Blob(oid, tid))
	}
	return nil
}

// publish makes the view without the removed members the current one.
func (r *removal) publish() (n store.Counts, err error) {
	next := &view{parts: slices.Clone(r.v.parts), leftovers: r.v.leftovers, marked: r.v.marked}
	for i, m := range r.marks {
		if m == nil {
			continue
		}
		p := &next.parts[i]
		p.gone = p.gone.With(p.Sum, r.stamp, m)
		r.s.pending.lists[p.name] = p.gone
		n.Revisions += r.counts[i].Revisions
		n.Transactions += r.counts[i].Transactions
		n.Bytes += r.counts[i].Bytes
	}
	r.s.follow(r.v, next)
	err = r.s.catalogue.publish(next)
	for _, oid := range r.objects {
		if _, _, number, cerr := next.current(oid); cerr == nil && number < 0 {
			n.Objects++
		}
	}
	return n, err
}

// putGone puts the next gone lists of some bundles, durably, and publishes them. With
// an error some of them may be there and are published, too. The lists that they replace are removed.
func (s *Store) putGone(v *view, next map[bundle.Name]*bundle.Gone) error {
	if err := s.certain(); err != nil {
		return err
	}
	err := s.writeGone(v, next)
	if err == nil {
		err = s.files.Sync()
	}
	if err = s.changed(err); err != nil {
		return err
	}
	return s.removeLists()
}

func (s *Store) writeGone(v *view, next map[bundle.Name]*bundle.Gone) error {
	for i := range v.parts {
		p := &v.parts[i]
		gone, ok := next[p.name]
		if !ok {
			continue
		}
		b, err := gone.Append(nil)
		if err != nil {
			return err
		}
		p.tried = max(p.tried, p.number) + 1
		err = s.files.PutBeside(dirOf(p.side)+"/"+p.name.Gone(p.tried), func(w io.Writer) error {
			_, err := w.Write(b)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeLists removes the lists that do not count any more. Their names are durable or not: it
// does not matter.
func (s *Store) removeLists() error {
	left := s.now.leftovers[:0:0]
	for _, name := range s.now.leftovers {
		if !isList(name) {
			left = append(left, name)
			continue
		}
		if err := s.files.RemoveBeside(name); err != nil {
			return err
		}
	}
	next := &view{parts: s.now.parts, leftovers: left, marked: s.now.marked}
	return s.publish(next)
}
