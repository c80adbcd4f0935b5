package salvage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/current"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// list plans a gone list.
func (b *bundles) list(name string) error {
	content, err := b.lost.ReadFile(name)
	if err != nil {
		return err
	}
	if err := bundle.CheckGone(content, name); err != nil {
		if _, newer := errors.AsType[*layout.NewerError](err); newer {
			return err
		}
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

// kept is the list of removed members of a bundle that is made again.
type kept struct {
	// exact: the bundle is as it was, byte for byte.
	exact bool
	// gone is the list, by the numbers in the bundle that open opens; nil: nothing is gone.
	gone   *bundle.Gone
	open   func(l *lostFile) (*bundle.Reader, error)
	detail string
	// lost says why members that packs removed are there again, and where the list would be; "": they are
	// not, or only in part.
	lost, where string
}

// listOf finds the list of a bundle that is made again of the members of r. It needs the list, and the
// index by whose numbers it was made: the old one, or that of r if all members are there. Where the end of a
// bundle is lost, nobody knows whether it carried a list: a list beside it says so, because the sum of the
// index in it covers the one that is carried, or the note of the table of current revisions. This
// table still knows which objects were removed.
func (b *bundles) listOf(l *lostFile, r *bundle.Reader, given, before bundle.Name) (k kept, err error) {
	again := func(l *lostFile) (*bundle.Reader, error) {
		r, _, err := rebuild(l, given, nil)
		return r, err
	}
	if r.Complete() && !r.ListLost() && !r.ListUnknown() {
		return kept{exact: true}, nil
	}
	old, err := bundle.Open(l.file, l.size, l.name)
	if err != nil && !errors.Is(err, zodb.ErrCorrupt) {
		return k, err
	}
	if err == nil {
		k.gone, k.open = old.Carried(), func(l *lostFile) (*bundle.Reader, error) { return bundle.Open(l.file, l.size, l.name) }
	}
	why, where := "the end of the bundle is missing or damaged", bundlesDir+before.String()
	if r.ListLost() {
		why = "the list that the bundle carried is damaged"
	}
	numbers := b.numbers[before]
	if len(numbers) > 0 {
		where = bundlesDir + before.Gone(slices.Max(numbers))
		content, rerr := b.home.ReadFile(where)
		if rerr != nil {
			return k, rerr
		}
		of := r.Info
		if err == nil {
			of = old.Info
		} else if k.open = again; r.Complete() && given == before {
			of.Sum = bundle.SumIn(content) // where the name is lost, it may be the list of another generation
		}
		if k.gone, err = bundle.ParseGone(content, where, &of); err == nil {
			if r.Complete() && of.Sum == r.Sum && !r.ListLost() {
				k = kept{exact: true}
			}
			return k, nil
		}
		if _, newer := errors.AsType[*layout.NewerError](err); newer {
			return k, err
		}
		why = err.Error()
	}
	if err == nil || len(numbers) == 0 && !r.ListLost() && !r.ListUnknown() {
		return k, nil
	}
	sum, noted, err := b.noted(before)
	switch {
	case err != nil:
		return k, err
	case noted && r.Complete() && len(numbers) == 0 && sum == hex.EncodeToString(r.Sum[:len(sum)/2]):
		return kept{exact: true}, nil
	case !noted:
		return kept{lost: why, where: where}, nil
	}
	gone, err := b.goneInTable(r)
	if err != nil || gone == nil {
		return kept{lost: why, where: where}, err
	}
	k = kept{open: again, detail: "objects that packs removed, from misc/current, as if they were removed now; their old revisions, and those of other objects, are there again"}
	if !gone.IsEmpty() {
		k.gone = &bundle.Gone{Sets: []bundle.GoneSet{{Stamp: b.now.Unix(), Members: gone}}}
	}
	return k, nil
}

// carry plans the list for a bundle that is made again.
func (b *bundles) carry(l *lostFile, k kept, made bundle.Name) {
	if k.lost != "" {
		b.add(Action{Verb: Doubtful, To: k.where, Returned: true, Detail: fmt.Sprintf(
			"the list of members that packs removed cannot be carried over to %s: if there was one, these are there again, and the next pack removes them: %s", made, k.lost)})
	}
	if k.gone == nil {
		return
	}
	name, detail := l.name, k.detail
	if detail == "" {
		detail = "its list of removed members"
	}
	b.add(Action{Verb: Make, To: bundlesDir + made.Gone(1), Detail: detail, Write: func(ctx context.Context, out io.Writer) error {
		return b.writeCarried(name, made, k, out)
	}})
	b.numbers[made] = []uint64{1}
}

// writeCarried writes the gone list of a bundle that was put into its place.
func (b *bundles) writeCarried(name string, made bundle.Name, k kept, out io.Writer) error {
	from, to := open(b.lost, name), open(b.home, bundlesDir+made.String())
	defer from.close()
	defer to.close()
	if err := errors.Join(from.err, to.err); err != nil {
		return err
	}
	old, err := k.open(from)
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
	for _, s := range k.gone.Sets {
		next.Sets = append(next.Sets, bundle.GoneSet{Stamp: s.Stamp, Members: roaring.New()})
	}
	note := func(n layout.Name, number int64) {
		now, ok := numbers[n]
		for i, s := range k.gone.Sets {
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

// noted returns the beginning of the sum of the index of a bundle, in hexadecimal, as the note of the table
// of current revisions has it. noted is false if there is no table, or it does not know the bundle.
func (b *bundles) noted(n bundle.Name) (sum string, noted bool, err error) {
	if b.table == nil {
		b.table, err = current.Open(b.home, b.identity)
		if vfs.Passes(err) {
			return "", false, err
		}
		if err != nil {
			return "", false, nil // derived, and not there
		}
	}
	_, note := b.table.UpTo()
	for line := range strings.Lines(string(note)) {
		if words := strings.Fields(line); len(words) > 2 && words[0] == n.String() {
			return words[1], true, nil
		}
	}
	return "", false, nil
}

// goneInTable returns the members of a bundle that the table of current revisions has as the newest
// ones of objects that packs removed; nil: the table is damaged. A number of it is that of the bundle.
func (b *bundles) goneInTable(r *bundle.Reader) (*roaring.Bitmap, error) {
	gone, number := roaring.New(), uint32(0)
	cursor := b.table.Cursor()
	for e, err := range r.RevisionsFrom(0) {
		if err != nil {
			return nil, err
		}
		slot, err := cursor.Get(e.OID)
		if errors.Is(err, current.ErrDamaged) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if slot.TID == e.TID && slot.Flags&current.Removed != 0 {
			gone.Add(number)
		}
		number++
	}
	return gone, nil
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
