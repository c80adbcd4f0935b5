package salvage

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// A file of a newer release is left where it is, and the rest is salvaged without it. Its content is not
// known, so nothing is put beside it that it may replace: no bundle of its range, and none that is made again
// of a damaged one whose members it may have removed.

// newerBundle is a bundle of a newer release whose name is known.
type newerBundle struct {
	name bundle.Name
	path string
}

// newerList is a list of removed members of a newer release.
type newerList struct {
	path   string
	number uint64      // 0: its name is lost
	name   bundle.Name // of its bundle, if its own is known
	sum    [32]byte    // of its bundle, if that is in the same place as in lists of this release
}

func isNewer(err error) bool {
	_, newer := errors.AsType[*layout.NewerError](err)
	return newer
}

// newerInHome notes the lists of a newer release that count, also of bundles that are not there.
func (b *bundles) newerInHome() error {
	byName := func(x, y bundle.Name) int { return cmp.Compare(x.String(), y.String()) }
	for _, n := range slices.SortedFunc(maps.Keys(b.numbers), byName) {
		if slices.ContainsFunc(b.live, func(l liveBundle) bool { return l.name.Supersedes(n) }) {
			continue
		}
		number := slices.Max(b.numbers[n])
		name := bundlesDir + n.Gone(number)
		content, err := b.home.ReadFile(name)
		if vfs.Passes(err) {
			return err
		}
		if err == nil {
			err = bundle.CheckGone(content, name)
		}
		if !isNewer(err) {
			continue // its damage matters where the bundle has to be made again
		}
		b.newerLists = append(b.newerLists, newerList{name, number, n, bundle.SumIn(content)})
		b.add(Action{Verb: Newer, To: name, Detail: err.Error()})
	}
	return nil
}

// newerLost notes a lost file of a newer release; found: it is one. Bundles and lists are judged only when
// all of these are known.
func (b *bundles) newerLost(name string) (found bool, err error) {
	l := open(b.lost, name)
	if l.err != nil {
		return false, l.err
	}
	defer l.close()
	kind, given, number, err := b.kind(l)
	switch {
	case err != nil:
		return false, err
	case kind == kindList:
		content, err := b.lost.ReadFile(name)
		if err == nil {
			err = bundle.CheckGone(content, name)
		}
		if !isNewer(err) {
			return false, passing(err)
		}
		a := Action{Verb: Newer, From: name, Returned: true,
			Detail: err.Error() + "; it is left there, and members that packs removed by it may be there again until it has its place"}
		if number > 0 {
			a.To = bundlesDir + given.Gone(number)
		}
		b.newerLists = append(b.newerLists, newerList{name, number, given, bundle.SumIn(content)})
		b.add(a)
		return true, nil
	case kind == kindBundle:
		_, err := openBundle(l, given)
		if !isNewer(err) {
			return false, passing(err)
		}
		b.newerBundle(name, given, err)
		return true, nil
	}
	return false, nil
}

// openBundle opens a bundle. If its end is damaged but for a list that it carries, of a newer release, the error says
// that. A version counts where the checksum over it is right, so damage makes no file a newer one.
func openBundle(l *lostFile, given bundle.Name) (*bundle.Reader, error) {
	r, err := bundle.Open(l.file, l.size, l.name)
	if !errors.Is(err, zodb.ErrCorrupt) {
		return r, err
	}
	again, _, rerr := rebuild(l, given, nil)
	if rerr != nil {
		return nil, rerr
	}
	return nil, cmp.Or(again.ListNewer(), err)
}

// passing returns an error that is not one of the file.
func passing(err error) error {
	if vfs.Passes(err) {
		return err
	}
	return nil
}

// newerBundle notes a lost bundle of a newer release.
func (b *bundles) newerBundle(name string, given bundle.Name, err error) {
	a := Action{Verb: Newer, From: name, Detail: err.Error() + "; it is left there, and its transactions are missing"}
	if given == (bundle.Name{}) {
		a.Detail += "; its name is lost, so nobody knows which other bundles it replaces"
	} else {
		a.To = bundlesDir + given.String()
		b.newer = append(b.newer, newerBundle{given, name})
	}
	b.add(a)
	b.newerThere = true
}

// besideNewer returns the reason not to put a bundle beside one of a newer release; "": there is none.
func (b *bundles) besideNewer(n bundle.Name) string {
	for _, other := range b.newer {
		if n.Min <= other.name.Max && other.name.Min <= n.Max {
			return fmt.Sprintf("its range is, or overlaps with, that of %s, which a newer release wrote: that may replace it", other.path)
		}
	}
	return ""
}

// newerListOf returns the list of a newer release that counts for a bundle; nil: none is known. The sums are
// those that the bundle may have.
func (b *bundles) newerListOf(n bundle.Name, sums ...[32]byte) *newerList {
	for i := range b.newerLists {
		l := &b.newerLists[i]
		if l.number > 0 && l.name == n && (len(b.numbers[n]) == 0 || l.number >= slices.Max(b.numbers[n])) {
			return l
		}
		if l.number == 0 && slices.Contains(sums, l.sum) {
			return l
		}
	}
	return nil
}

// kind of lost file, as far as its beginning and its name tell.
type kind int

const (
	kindOther kind = iota
	kindList
	kindRecord
	kindBundle
)

func (b *bundles) kind(l *lostFile) (k kind, given bundle.Name, number uint64, err error) {
	head, err := l.head()
	if err != nil {
		return kindOther, given, 0, err
	}
	given, number, named := bundle.ParseName(path.Base(l.name))
	switch {
	case bytes.HasPrefix(head, []byte(listMagic)) || named && number > 0:
		return kindList, given, number, nil
	case isRecord(head):
		return kindRecord, given, number, nil
	case named || bytes.HasPrefix(head, []byte(frameMagic)) || bytes.HasPrefix(head, []byte(skippableMagic)):
		return kindBundle, given, number, nil
	}
	return kindOther, given, number, nil
}
