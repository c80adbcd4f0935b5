package bundled

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/zodb"
)

func isList(name string) bool {
	_, number, ok := bundle.ParseName(path.Base(name))
	return ok && number > 0
}

// restorer brings back blobs, then bundle by bundle their revisions and all others.
type restorer struct {
	s     *Store
	stamp int64
	files classic.FileRestorer
	blobs bool // they are all there
	// done are lists of which nothing comes back any more: the rest is of objects that are gone for good.
	done map[*bundle.Gone]struct{}
}

// BringBack implements [store.Packer]. The unit of a step is a bundle. The blob of a revision that comes back is
// brought back whatever its own stamp is: where an undelete was interrupted, the next pack puts aside anew the
// blobs that were back without their revisions. With a revision come its transaction and, before it, the current
// revision of its object, whatever their stamps are; if that is gone for good, it stays aside.
func (s *Store) BringBack(stamp int64) store.Restorer {
	wanted := func(n layout.Name) bool { return s.comesBack(n, stamp) }
	return &restorer{s: s, stamp: stamp, files: s.files.BringBackIf(wanted), done: make(map[*bundle.Gone]struct{})}
}

// comesBack reports of a blob that was put aside whether its revision is there once all with a stamp are brought
// back (0: with any). It may be gone for good, while the blob waits for the next purge.
func (s *Store) comesBack(n layout.Name, stamp int64) bool {
	i := s.now.of(n.TID)
	if i < 0 {
		return false
	}
	p := &s.now.parts[i]
	_, number, err := p.Find(n.OID, n.TID)
	if err != nil {
		return true // a read of it reports the error
	}
	return number >= 0 && (!p.gone.Has(number) || p.gone.IsAside(number, stamp))
}

// Close implements [store.Restorer].
func (r *restorer) Close() { r.files.Close() }

// Step implements [store.Restorer].
func (r *restorer) Step(limit int, begins func() error) (n store.Restored, err error) {
	if err := r.s.settled(); err != nil {
		return n, err
	}
	if !r.blobs {
		n, err = r.files.Step(limit, begins)
		r.blobs, n.Done, n.Pointing = n.Done, false, false
		return n, err
	}
	v := r.s.view()
	defer v.release()
	n.Pointing = true
	for i := len(v.parts) - 1; i >= 0; i-- {
		p := &v.parts[i]
		if !p.hasAside(r.stamp) {
			continue
		}
		if _, done := r.done[p.gone]; done {
			continue
		}
		c, err := r.coming(v, i)
		if err != nil {
			return n, err
		}
		if c.nothing() {
			r.done[p.gone] = struct{}{}
			continue
		}
		if err := begins(); err != nil {
			return n, err
		}
		if len(c.current) == 0 {
			c.current = map[int]*roaring.Bitmap{i: c.members}
		} // else these are for the next step
		err = r.back(v, c.current, c.blobs, &n)
		return n, err
	}
	n.Done = true
	return n, r.s.files.Sync()
}

// back brings back members of some parts, by index, and before them some blobs.
func (r *restorer) back(v *view, members map[int]*roaring.Bitmap, blobs []layout.Name, n *store.Restored) error {
	if err := r.files.Names(blobs, n); err != nil {
		return err
	}
	lists := make(map[bundle.Name]*bundle.Gone)
	noBlob := int64(0)
	for i, m := range members {
		p := &v.parts[i]
		list := p.gone.Back(m)
		lost, err := r.s.withoutBlobs(p, list)
		if err != nil {
			return err
		}
		if !lost.IsEmpty() {
			list = list.With(list.Sum, 0, lost)
		}
		lists[p.name] = list
		noBlob += int64(lost.GetCardinality())
	}
	err := r.s.putGone(v, lists)
	if err == nil {
		n.NoBlob += noBlob
	}
	after := r.s.view()
	defer after.release()
	for i := range members {
		err = cmp.Or(err, back(after, &v.parts[i], n))
	}
	return err
}

// coming is what comes back of a part with a stamp.
type coming struct {
	members *roaring.Bitmap
	// current are members of any parts, by index, that have to be there before, and that other packs took: the current
	// revisions of the objects, and their transactions.
	current map[int]*roaring.Bitmap
	blobs   []layout.Name // of current revisions that other packs took
}

func (c *coming) nothing() bool { return c.members.IsEmpty() }

// coming finds out what comes back of a part.
func (r *restorer) coming(v *view, i int) (c coming, err error) {
	p := &v.parts[i]
	c = coming{members: roaring.New(), current: make(map[int]*roaring.Bitmap)}
	number := int64(-1)
	for e, err := range p.RevisionsFrom(0) {
		if err != nil {
			return c, err
		}
		if number++; !p.gone.IsAside(number, r.stamp) {
			continue
		}
		there, err := r.currentOf(v, e, &c)
		if err != nil {
			return c, err
		}
		if there {
			c.members.Add(uint32(number))
			if err := withTransaction(p, e.TID, c.members); err != nil {
				return c, err
			}
		}
	}
	for range p.TransactionsFrom(0) {
		if number++; p.gone.IsAside(number, r.stamp) {
			c.members.Add(uint32(number))
		}
	}
	return c, nil
}

// currentOf notes what else has to be there for a revision of a part to come back; false: the newest one of its object is gone
// for good.
func (r *restorer) currentOf(v *view, revision bundle.Revision, c *coming) (there bool, err error) {
	p, e, number, err := v.newest(revision.OID)
	if err != nil || number < 0 || e.TID == revision.TID || !p.gone.Has(number) {
		return err == nil, err
	}
	blob := layout.Blob(e.OID, e.TID)
	if p.gone.IsAside(number, r.stamp) { // it comes before, or with this one, unless its blob is missing
		if e.Flags&bundle.FlagBlob != 0 {
			_, err = r.s.files.Stat(blob)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	if !p.gone.IsAside(number, 0) {
		return false, nil
	}
	if e.Flags&bundle.FlagBlob != 0 {
		c.blobs = append(c.blobs, blob)
	}
	i := v.of(e.TID)
	if c.current[i] == nil {
		c.current[i] = roaring.New()
	}
	c.current[i].Add(uint32(number))
	return true, withTransaction(p, e.TID, c.current[i])
}

// withTransaction adds a transaction of a part to members that come back, if it is put aside.
func withTransaction(p *part, tid zodb.TID, members *roaring.Bitmap) error {
	e, number, err := p.LatestTransaction(tid)
	if err == nil && number >= 0 && e.TID == tid && p.gone.IsAside(p.member(number), 0) {
		members.Add(uint32(p.member(number)))
	}
	return err
}

// withoutBlobs returns the members that are gone from a part, and would not be by a list, of which the file of the blob
// is missing: in a HOME from a backup, which has no blobs that were put aside, or after a power cut that kept
// neither of the names of one. All blobs that are left are in their places by then. Such a revision cannot be read, so it is not brought back.
func (s *Store) withoutBlobs(p *part, list *bundle.Gone) (*roaring.Bitmap, error) {
	lost := roaring.New()
	if p.Blobs == 0 {
		return lost, nil
	}
	number := int64(-1)
	for e, err := range p.RevisionsFrom(0) {
		if err != nil {
			return nil, err
		}
		if number++; e.Flags&bundle.FlagBlob == 0 || !p.gone.Has(number) || list.Has(number) {
			continue
		}
		switch _, err := s.files.Stat(layout.Blob(e.OID, e.TID)); {
		case errors.Is(err, fs.ErrNotExist):
			lost.Add(uint32(number))
		case err != nil:
			return nil, err
		}
	}
	return lost, nil
}

// hasAside reports whether something can be brought back that was removed with a stamp; 0: any.
func (p *part) hasAside(stamp int64) bool {
	if p.gone == nil {
		return false
	}
	for _, set := range p.gone.Sets {
		if set.Stamp != 0 && (stamp == 0 || set.Stamp == stamp) {
			return true
		}
	}
	return false
}

// back counts the members that were gone from a part before, and are not in a view after that.
func back(after *view, before *part, n *store.Restored) error {
	i := after.of(before.name.Min)
	if i < 0 || after.parts[i].number == before.number {
		return nil
	}
	p := &after.parts[i]
	number := int64(-1)
	for e, err := range p.RevisionsFrom(0) {
		if err != nil {
			return err
		}
		if number++; !before.gone.Has(number) || p.gone.Has(number) {
			continue
		}
		n.Seen++
		n.Revisions++
		n.Bytes += int64(e.Length)
		_, newest, _, err := after.newest(e.OID)
		if err != nil {
			return err
		}
		if newest.TID == e.TID {
			n.Objects++
		}
	}
	for e, err := range p.TransactionsFrom(0) {
		if err != nil {
			return err
		}
		if number++; !before.gone.Has(number) || p.gone.Has(number) {
			continue
		}
		n.Seen++
		n.Transactions++
		n.Bytes += int64(e.Length)
	}
	return nil
}

// BroughtBack implements [store.Packer].
func (s *Store) BroughtBack(ctx context.Context) iter.Seq2[zodb.TID, error] {
	return func(yield func(zodb.TID, error) bool) {
		for n, err := range s.members(ctx, []layout.Kind{layout.KindTransaction}) {
			if !yield(n.TID, err) || err != nil {
				return
			}
		}
	}
}

// purger makes lists without stamps, then removes blobs.
type purger struct {
	s      *Store
	before int64
	files  store.Purger
}

// Purge implements [store.Packer]. The unit of a step is a bundle. The purged members
// stay on the disk until the bundle is rewritten, see [Store.Tend].
func (s *Store) Purge(before int64) store.Purger {
	return &purger{s, before, s.files.Purge(before)}
}

// Close implements [store.Purger].
func (p *purger) Close() { p.files.Close() }

// Step implements [store.Purger].
func (p *purger) Step(limit int) (removed store.Occupied, done bool, err error) {
	if err := p.s.settled(); err != nil {
		return removed, false, err
	}
	v := p.s.view()
	defer v.release()
	for i := range v.parts {
		part := &v.parts[i]
		n := part.purged(p.before)
		if n == 0 {
			continue
		}
		if err := p.s.putGone(v, map[bundle.Name]*bundle.Gone{part.name: part.gone.Purged(p.before)}); err != nil {
			return removed, false, err
		}
		if removed.Files += n; removed.Files >= int64(limit) {
			return removed, false, nil
		}
	}
	n, done, err := p.files.Step(limit)
	n.Files += removed.Files
	return n, done, err
}

// purged returns how many members were removed with stamps before one.
func (p *part) purged(before int64) (n int64) {
	if p.gone == nil {
		return 0
	}
	for _, set := range p.gone.Sets {
		if set.Stamp != 0 && set.Stamp < before {
			n += int64(set.Members.GetCardinality())
		}
	}
	return n
}
