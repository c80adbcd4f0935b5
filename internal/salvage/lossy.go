package salvage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/zodb"
)

// A bundle that was damaged may be lost as a whole, or in part. That is a loss only where no other bundle has
// its range: a power cut leaves a torn merge beside the bundles that were merged, and a copy may have a bundle
// that another one has replaced.

// lossy is the action of a bundle that is not put back.
type lossy struct {
	action int
	name   bundle.Name // zero: it is lost, too
}

// span is a range of transactions, both included.
type span struct{ first, last zodb.TID }

func (s span) String() string {
	if s.last == zodb.MaxTID {
		return fmt.Sprintf("from %s on", s.first)
	}
	return fmt.Sprintf("from %s to %s", s.first, s.last)
}

// readBeside notes the bundles in B.
func (b *bundles) readBeside() error {
	const dir = "B/bundles"
	for e, err := range b.home.List(dir) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		n, number, ok := bundle.ParseName(e.Name)
		if !ok || number > 0 {
			continue
		}
		l := liveBundle{name: n, source: func() *lostFile { return open(b.home, dir+"/"+n.String()) }}
		if err := l.read(); isNewer(err) {
			l.newer = true
		} else if err != nil {
			return err
		}
		b.beside = append(b.beside, l)
	}
	return nil
}

// gaps returns the ranges of which the home has no bundle, or one that is damaged, when the plan is done.
func (b *bundles) gaps() (gaps []span) {
	all := slices.Concat(b.live, b.beside)
	slices.SortFunc(all, func(x, y liveBundle) int { return cmp.Compare(x.name.Min, y.name.Min) })
	last := zodb.TID(0)
	for _, l := range all {
		if slices.ContainsFunc(all, func(other liveBundle) bool { return other.name.Supersedes(l.name) }) {
			continue
		}
		follows := l.name.Min - 1 // where nobody knows which transaction it follows
		if l.known {
			follows = l.info.Previous
		}
		if follows > last {
			gaps = append(gaps, span{last + 1, follows})
		}
		if !l.known && !l.newer {
			gaps = append(gaps, span{l.name.Min, l.name.Max})
		}
		last = max(last, l.name.Max)
	}
	if b.serial > last {
		gaps = append(gaps, span{last + 1, b.serial})
	}
	return gaps
}

// nameLosses says of each bundle that is not put back which of its transactions the home lacks.
func (b *bundles) nameLosses() {
	if len(b.lossy) == 0 {
		return
	}
	gaps := b.gaps()
	for _, l := range b.lossy {
		var missing []string
		for _, g := range gaps {
			if l.name == (bundle.Name{}) {
				missing = append(missing, g.String())
			} else if g.first <= l.name.Max && l.name.Min <= g.last {
				missing = append(missing, span{max(g.first, l.name.Min), min(g.last, l.name.Max)}.String())
			}
		}
		a := &b.actions[l.action]
		a.Missing = len(missing) > 0
		switch where := strings.Join(missing, ", "); {
		case l.name.Min > b.serial:
			a.Detail += "; it is later than x.serial: the log has its transactions, if they were committed"
		case !a.Missing:
			a.Detail += "; other bundles have its transactions"
		case l.name == (bundle.Name{}):
			a.Detail += "; its name is lost, too, and HOME lacks transactions that it may have had: " + where
		default:
			a.Detail += "; HOME lacks its transactions " + where
		}
	}
}

// judgeLossy changes the action of a bundle that is made again of a part of its members. It replaces no bundle
// that has them all, or as many.
func (b *bundles) judgeLossy(a *Action, n bundle.Name) {
	if a.Verb != Make {
		return
	}
	for _, other := range b.live {
		if n.Supersedes(other.name) && (other.known || other.newer) {
			b.lossy = append(b.lossy, lossy{len(b.actions), n})
			a.Verb, a.Detail = Doubtful, fmt.Sprintf("it is damaged, and what is left of it would replace %s", other.name)
			return
		}
	}
	a.Missing = true
}
