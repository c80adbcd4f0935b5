package salvage

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// complete plans the x files that are missing, and blobs.
func (b *bundles) complete(ctx context.Context) error {
	s := seen{blobs: make(map[record.BlobSum][]layout.Name)}
	for _, l := range b.sorted() {
		s.lastTID = max(s.lastTID, l.name.Max)
		s.maxOID = max(s.maxOID, l.info.HighestOID)
		if err := errors.Join(ctx.Err(), b.wantBlobs(&s, l)); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		name  layout.Name
		value uint64
	}{{layout.XOID, uint64(s.maxOID)}, {layout.XSerial, uint64(s.lastTID)}} {
		before := len(b.actions)
		if err := b.makeX(x.name, x.value); err != nil {
			return err
		}
		if len(b.actions) > before && b.newerThere { // the highest in use may be in what is not read
			b.actions[before] = Action{Verb: Newer, To: b.place(x.name), Name: x.name, Detail: "it is missing, and cannot be made: bundles of a newer release are not read"}
		}
	}
	return b.planner.blobs(ctx, &s, b.newerThere)
}

// wantBlobs notes the revisions of a bundle whose blobs are not there, if a lost file may be one.
func (b *bundles) wantBlobs(s *seen, l liveBundle) error {
	if len(b.unknown) == 0 || l.newer || l.known && l.info.Blobs == 0 {
		return nil
	}
	f := l.source()
	if f.err != nil {
		return f.err
	}
	defer f.close()
	r, err := bundle.Open(f.file, f.size, f.name)
	if errors.Is(err, zodb.ErrCorrupt) {
		r, _, err = rebuild(f, l.name, nil)
	}
	if err != nil {
		return err
	}
	for e, err := range r.RevisionsFrom(0) {
		if errors.Is(err, zodb.ErrCorrupt) {
			return nil // check reports it
		}
		if err != nil {
			return err
		}
		if e.Flags&bundle.FlagBlob == 0 {
			continue
		}
		blob := layout.Blob(e.OID, e.TID)
		there, err := exists(b.home, b.place(blob))
		if err != nil {
			return err
		}
		if there {
			continue
		}
		content, err := r.Read(e.Place, e.Name())
		if errors.Is(err, zodb.ErrCorrupt) {
			continue // check reports it
		}
		if err != nil {
			return err
		}
		if o, err := record.ParseObjectAs(content, f.name, e.OID, e.TID, true); err == nil {
			s.blobs[o.BlobSum] = append(s.blobs[o.BlobSum], blob)
		}
	}
	return nil
}

// sorted returns the bundles that count, in order.
func (b *bundles) sorted() []liveBundle {
	return slices.SortedFunc(slices.Values(b.live), func(x, y liveBundle) int { return cmp.Compare(x.name.Min, y.name.Min) })
}
