package salvage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// list plans a gone list.
func (b *bundles) list(name string) error {
	content, err := b.lost.ReadFile(name)
	if err != nil {
		return err
	}
	if err := bundle.CheckGone(content, name); err != nil {
		b.add(Action{Verb: Damaged, From: name, Detail: err.Error()})
		return nil
	}
	given, number, named := bundle.ParseName(path.Base(name))
	for _, l := range b.live {
		if !l.known {
			continue
		}
		if _, err := bundle.ParseGone(content, name, &l.info); err != nil {
			continue
		}
		if !named || given != l.name {
			number = 1
			if len(b.numbers[l.name]) > 0 {
				b.add(Action{Verb: Doubtful, From: name, Detail: fmt.Sprintf("a list of removed members of %s, which has one: nobody knows which is the later one", l.name)})
				return nil
			}
		}
		a := Action{Verb: Place, From: name, To: bundlesDir + l.name.Gone(number)}
		there, err := b.home.ReadFile(a.To)
		switch {
		case err == nil && string(there) == string(content):
			a.Verb = Duplicate
		case err == nil:
			a.Verb, a.Detail = Conflict, "there is a file with other content"
		case !errors.Is(err, fs.ErrNotExist):
			return err
		case len(b.numbers[l.name]) > 0 && slices.Max(b.numbers[l.name]) > number:
			a.Verb, a.Detail = Doubtful, fmt.Sprintf("list %d counts", slices.Max(b.numbers[l.name]))
		default:
			b.numbers[l.name] = append(b.numbers[l.name], number)
		}
		b.add(a)
		return nil
	}
	b.add(Action{Verb: Doubtful, From: name, Detail: "a list of removed members of a bundle that is not there"})
	return nil
}

// carry plans the gone list for a bundle that was made again of a part of the members, or without the
// list that it carried: the numbers differ. It needs the old index and the old list. If one of them is
// damaged, members that packs removed are there again, and the plan says so. carried: it carried a list.
func (b *bundles) carry(l *lostFile, given, made bundle.Name, carried bool) error {
	before := given
	if before == (bundle.Name{}) {
		before = bundle.Name{Min: made.Min, Max: made.Max, Generation: made.Generation - 1}
	}
	old, err := bundle.Open(l.file, l.size, l.name)
	if err == nil {
		before = nameOf(&old.Info)
	} else if !errors.Is(err, zodb.ErrCorrupt) {
		return err
	}
	var gone *bundle.Gone
	again := func(list string, err error) error {
		b.add(Action{Verb: Doubtful, To: list, Detail: fmt.Sprintf("it cannot be carried over to %s: revisions and transactions that packs removed are there again; the next pack removes them: %v", made, err)})
		return nil
	}
	if numbers := b.numbers[before]; len(numbers) > 0 {
		path := bundlesDir + before.Gone(slices.Max(numbers))
		content, rerr := b.home.ReadFile(path)
		if rerr != nil {
			return rerr
		}
		if err == nil {
			gone, err = bundle.ParseGone(content, path, &old.Info)
		}
		if err != nil {
			return again(path, err)
		}
	} else if err == nil {
		gone = old.Carried()
	} else if carried {
		return again(bundlesDir+before.String(), err)
	}
	if gone == nil {
		return nil
	}
	b.add(Action{Verb: Make, To: bundlesDir + made.Gone(1), Detail: "its list of removed members", Write: func(ctx context.Context, out io.Writer) error {
		return b.writeCarried(l.name, made, gone, out)
	}})
	b.numbers[made] = []uint64{1}
	return nil
}

// writeCarried writes the gone list of a bundle that was put into its place.
func (b *bundles) writeCarried(name string, made bundle.Name, gone *bundle.Gone, out io.Writer) error {
	from, to := open(b.lost, name), open(b.home, bundlesDir+made.String())
	defer from.close()
	defer to.close()
	if err := errors.Join(from.err, to.err); err != nil {
		return err
	}
	old, err := bundle.Open(from.file, from.size, from.name)
	if err != nil {
		return err
	}
	r, err := bundle.Open(to.file, to.size, to.name)
	if err != nil {
		return err
	}
	numbers, err := numbersOf(r)
	if err != nil {
		return err
	}
	next := &bundle.Gone{Sum: r.Sum}
	for _, s := range gone.Sets {
		next.Sets = append(next.Sets, bundle.GoneSet{Stamp: s.Stamp, Members: roaring.New()})
	}
	note := func(n layout.Name, number int64) {
		now, ok := numbers[n]
		for i, s := range gone.Sets {
			if ok && s.Members.Contains(uint32(number)) {
				next.Sets[i].Members.Add(uint32(now))
			}
		}
	}
	if err := old.EachMember(note); err != nil {
		return err
	}
	next.Sets = slices.DeleteFunc(next.Sets, func(s bundle.GoneSet) bool { return s.Members.IsEmpty() })
	content, err := next.Append(nil)
	if err == nil {
		_, err = out.Write(content)
	}
	return err
}

func numbersOf(r *bundle.Reader) (map[layout.Name]int64, error) {
	numbers := make(map[layout.Name]int64)
	return numbers, r.EachMember(func(n layout.Name, number int64) { numbers[n] = number })
}

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
	if err := b.makeX(layout.XOID, uint64(s.maxOID)); err != nil {
		return err
	}
	if err := b.makeX(layout.XSerial, uint64(s.lastTID)); err != nil {
		return err
	}
	return b.planner.blobs(ctx, &s)
}

// wantBlobs notes the revisions of a bundle whose blobs are not there, if a lost file may be one.
func (b *bundles) wantBlobs(s *seen, l liveBundle) error {
	if len(b.unknown) == 0 || l.known && l.info.Blobs == 0 {
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
