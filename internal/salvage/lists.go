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
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// list plans a gone list.
func (b *bundles) list(name string) error {
	content, err := b.lost.ReadFile(name)
	if err != nil {
		return err
	}
	if err := bundle.CheckGone(content, name); err != nil {
		b.damagedList(name, content, err)
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
		if named = named && given == l.name; !named {
			number = 1
			if len(b.numbers[l.name]) > 0 {
				b.add(Action{Verb: Doubtful, From: name, Detail: fmt.Sprintf("a list of removed members of %s, which has one: nobody knows which is the later one", l.name)})
				return nil
			}
		}
		a := Action{Verb: Place, From: name, To: bundlesDir + l.name.Gone(number)}
		there, err := b.home.ReadFile(a.To)
		newer := b.newerListOf(l.name, l.info.Sum)
		switch {
		case err == nil && string(there) == string(content):
			a.Verb = Duplicate
		case err == nil:
			a.Verb, a.Detail = Conflict, "there is a file with other content"
		case !errors.Is(err, fs.ErrNotExist):
			return err
		case len(b.numbers[l.name]) > 0 && slices.Max(b.numbers[l.name]) > number:
			a.Verb, a.Detail = Doubtful, fmt.Sprintf("list %d counts", slices.Max(b.numbers[l.name]))
		case newer != nil && (!named || newer.number == 0 || newer.number >= number):
			a.Verb, a.Detail, a.Returned = Doubtful, fmt.Sprintf("%s, of a newer release, is a later list of the same bundle, or may be", newer.path), true
		default:
			b.numbers[l.name] = append(b.numbers[l.name], number)
		}
		b.add(a)
		return nil
	}
	if to, ok := b.carriedOver[name]; ok {
		b.add(Action{Verb: Duplicate, From: name, Detail: "the bundle was made again, with this list: " + to})
		return nil
	}
	b.add(Action{Verb: Doubtful, From: name, Detail: "a list of removed members of a bundle that is not there"})
	return nil
}

// damagedList plans a list that cannot be read. The one before it counts, or none, so members that packs
// removed may be there again; but not where a later one is known to be there.
func (b *bundles) damagedList(name string, content []byte, cause error) {
	a := Action{Verb: Damaged, From: name, Detail: cause.Error(), Returned: true}
	given, number, named := bundle.ParseName(path.Base(name))
	sum := bundle.SumIn(content)
	for _, l := range b.live {
		if !named && l.known && l.info.Sum == sum {
			given = l.name
		}
	}
	switch {
	case named && len(b.numbers[given]) > 0 && slices.Max(b.numbers[given]) >= number:
		a.Returned = false
	case given != (bundle.Name{}) && !slices.ContainsFunc(b.live, func(l liveBundle) bool { return l.name == given }):
		a.Returned = false // a bundle that was made again has told it
	default:
		a.Detail += "; without it members that packs removed may be there again until the next pack"
	}
	b.add(a)
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
	// newer is the path of the list if a newer release wrote it, so that nobody knows what is removed.
	newer string
	// from is the list among the lost files that is carried over.
	from string
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
	sums := [][32]byte{r.Sum}
	if err == nil {
		sums = append(sums, old.Sum)
	}
	if newer := b.newerListOf(before, sums...); newer != nil {
		if r.Complete() && !r.ListLost() && newer.sum == r.Sum {
			return kept{exact: true}, nil // the list fits what comes back
		}
		return kept{newer: newer.path}, nil
	}
	content, where, number, from, rerr := b.listBeside(before, where, sums)
	if rerr != nil {
		return k, rerr
	}
	noted, nerr := b.noted(before)
	if nerr != nil {
		return k, nerr
	}
	if number > 0 {
		of := r.Info
		if err == nil {
			of = old.Info
		} else if k.open = again; r.Complete() && given == before {
			of.Sum = bundle.SumIn(content) // where the name is lost, it may be the list of another generation
		}
		if k.gone, err = bundle.ParseGone(content, where, &of); err == nil {
			k.from = from
			if r.Complete() && of.Sum == r.Sum && !r.ListLost() {
				return kept{exact: true}, nil
			}
			if noted.number > number && strings.HasPrefix(hex.EncodeToString(of.Sum[:]), noted.sum) {
				k.where = bundlesDir + before.Gone(noted.number)
				k.lost = "misc/current knows a later one, which is not there"
			}
			return k, nil
		}
		why = err.Error()
	}
	if err == nil || number == 0 && !r.ListLost() && !r.ListUnknown() {
		if noted.there && noted.number > number && err == nil && strings.HasPrefix(hex.EncodeToString(old.Sum[:]), noted.sum) {
			k.lost, k.where = "misc/current knows one that lay beside it", bundlesDir+before.Gone(noted.number)
		}
		return k, nil
	}
	switch {
	case noted.there && r.Complete() && number == 0 && noted.number == 0 && strings.HasPrefix(hex.EncodeToString(r.Sum[:]), noted.sum):
		return kept{exact: true}, nil
	case !noted.there:
		return kept{lost: why, where: where}, nil
	case noted.behind || noted.number < number:
		return kept{lost: why + "; misc/current is older than the list", where: where}, nil
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
	if k.from != "" {
		b.carriedOver[k.from] = bundlesDir + made.Gone(1)
	}
	if len(b.numbers[made]) > 0 {
		b.add(Action{Verb: Duplicate, To: bundlesDir + made.Gone(slices.Max(b.numbers[made])), Detail: detail})
		return // an earlier salvage has carried it over, and packs may have added to it since
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

// listBeside returns the latest list of a bundle that lies beside it, in the home or among the lost files
// (from), and its number; 0: there is none, and the path stays where. A damaged one counts only in the home.
func (b *bundles) listBeside(n bundle.Name, where string, sums [][32]byte) (content []byte, at string, number uint64, from string, err error) {
	at = where
	if numbers := b.numbers[n]; len(numbers) > 0 {
		number = slices.Max(numbers)
		at = bundlesDir + n.Gone(number)
		if content, err = b.home.ReadFile(at); err != nil {
			return nil, at, number, "", err
		}
	}
	for _, name := range b.lists {
		c, err := b.lost.ReadFile(name)
		if err != nil {
			return nil, at, number, "", err
		}
		given, k, named := bundle.ParseName(path.Base(name))
		if !named {
			given, k = n, 1 // counts if there is no other one
		}
		if given == n && k > number && slices.Contains(sums, bundle.SumIn(c)) && bundle.CheckGone(c, name) == nil {
			content, at, number, from = c, name, k, name
		}
	}
	return content, at, number, from, nil
}

func numbersOf(r *bundle.Reader) (map[layout.Name]int64, error) {
	numbers := make(map[layout.Name]int64)
	return numbers, r.EachMember(func(n layout.Name, number int64) { numbers[n] = number })
}
