package bundled

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// dirOf is the directory of the bundles of a side.
func dirOf(side store.Side) string { return string(side) + "/bundles" }

// listed are the files of one bundle in a directory.
type listed struct {
	side    store.Side
	numbers []uint64 // of gone lists
}

// sides returns those that are read, B first, the order in which files move.
func (s *Store) sides() []store.Side {
	if s.o.Still {
		return []store.Side{store.A}
	}
	return []store.Side{store.B, store.A}
}

// list reads the directories. A file that both sides have, because a move was interrupted, is
// taken to be in A. gone has the gone lists whose bundles are there or not.
func (s *Store) list() (bundles, gone map[bundle.Name]listed, err error) {
	bundles, gone = make(map[bundle.Name]listed), make(map[bundle.Name]listed)
	for _, side := range s.sides() {
		for e, err := range s.fs.List(dirOf(side)) {
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return nil, nil, fmt.Errorf("list bundles: %w", err)
			}
			n, number, ok := bundle.ParseName(e.Name)
			switch {
			case !ok:
			case number == 0:
				bundles[n] = listed{side: side}
			default:
				gone[n] = listed{side, append(gone[n].numbers, number)}
			}
		}
	}
	return bundles, gone, nil
}

// reload makes a view of the files in the directories and publishes it. Bundles that are open stay
// so. It is called by the goroutine that puts, or for who reads beside another process.
func (s *Store) reload() error {
	marked, _, err := s.marked()
	if err != nil {
		return err
	}
	list := s.list
	if s.o.Beside {
		list = s.listBeside
	}
	bundles, gone, err := list()
	if err != nil {
		return err
	}
	all := make([]bundle.Name, 0, len(bundles))
	for n := range bundles {
		all = append(all, n)
	}
	live, superseded, err := bundle.Live(all)
	if err != nil && s.o.Beside {
		s.warnOnce(dirOf(store.A), "the ranges of bundles contradict each other: these are passed over, and reads of their members are errors", err)
		live, superseded, err = bundle.Live(consistent(all))
	}
	if err != nil {
		return unusable(&zodb.CorruptError{Path: dirOf(store.A), Reason: "the ranges of bundles contradict each other", Err: err})
	}
	before := make(map[bundle.Name]part)
	if s.now != nil {
		for _, p := range s.now.parts {
			before[p.name] = p
		}
	}
	next := &view{}
	for _, n := range superseded {
		next.leftovers = append(next.leftovers, dirOf(bundles[n].side)+"/"+n.String())
	}
	for _, n := range live {
		p, ok := before[n]
		if !ok || p.side != bundles[n].side {
			if p, err = s.open(n, bundles[n].side, next.last()); err != nil {
				if s.passOver(err) {
					next.passed = append(next.passed, dirOf(bundles[n].side)+"/"+n.String())
					err = nil
					continue
				}
				break
			}
		}
		next.parts = append(next.parts, p)
		if err = s.withGone(&next.parts[len(next.parts)-1], gone[n].numbers, next); err != nil {
			break
		}
		s.applyPending(&next.parts[len(next.parts)-1])
		delete(gone, n)
	}
	if err != nil {
		return errors.Join(err, next.closeNew())
	}
	for n, l := range gone {
		if i := next.of(n.Min); i < 0 || !next.parts[i].name.Supersedes(n) {
			continue // its bundle is missing, and may be put back
		}
		for _, number := range l.numbers {
			next.leftovers = append(next.leftovers, dirOf(l.side)+"/"+n.Gone(number))
		}
	}
	if marked > next.last() {
		next.marked = marked
	}
	switch {
	case s.o.Beside || s.o.Still:
	case s.now == nil:
		err = s.openTable(next)
	default:
		s.follow(s.now, next)
	}
	if err != nil {
		return errors.Join(err, next.closeNew())
	}
	if err := s.publish(next); err != nil {
		return err
	}
	s.unsure = false
	return nil
}

// closeNew closes the bundles of a view that is not published which no other one has.
func (v *view) closeNew() error {
	var errs []error
	for _, p := range v.parts {
		if p.refs.Load() == 0 {
			errs = append(errs, p.pool.close(p.opened))
		}
	}
	return errors.Join(errs...)
}

// open opens a bundle.
func (s *Store) open(n bundle.Name, side store.Side, below zodb.TID) (part, error) {
	path := dirOf(side) + "/" + n.String()
	o := &opened{name: n, side: side, path: path, short: short(n), pool: s.pool}
	s.pool.add(o)
	_, err := s.pool.open(o)
	if err == nil {
		o.Reader, err = bundle.Open(o, o.size, path)
	}
	if err == nil {
		err = agrees(o.Reader, n, path)
	}
	if err != nil {
		err = s.openAnyway(o, below, err)
	}
	if err == nil {
		s.recall(o)
		return part{opened: o, gone: o.Carried()}, nil
	}
	return part{}, unusable(errors.Join(err, s.pool.close(o)))
}

// agrees returns an error if a bundle is not the one that its name says.
func agrees(r *bundle.Reader, n bundle.Name, path string) error {
	if r.Min == n.Min && r.Max == n.Max && r.Generation == n.Generation {
		return nil
	}
	return &zodb.CorruptError{Path: path, Reason: fmt.Sprintf("its name and its footer differ: the footer says %s to %s, generation %d; name it so, or move it out of HOME", r.Min, r.Max, r.Generation)}
}

// withGone gives a part the last of some gone lists. Without any, the one counts that the bundle carries.
func (s *Store) withGone(p *part, numbers []uint64, next *view) error {
	highest := uint64(0)
	for _, number := range numbers {
		highest = max(highest, number)
	}
	for _, number := range numbers {
		if number < highest {
			next.leftovers = append(next.leftovers, dirOf(p.side)+"/"+p.name.Gone(number))
		}
	}
	if highest == p.number {
		return nil
	}
	path := dirOf(p.side) + "/" + p.name.Gone(highest)
	b, err := s.fs.ReadFile(path)
	if err != nil {
		return err
	}
	gone, err := bundle.ParseGone(b, path, &p.Info)
	if err != nil && s.passOver(err) {
		s.warnOnce(path, "a damaged list of removed members is passed over: the members can be read again", err)
		next.passed = append(next.passed, path)
		return s.withGone(p, slices.DeleteFunc(slices.Clone(numbers), func(n uint64) bool { return n == highest }), next)
	}
	if err != nil {
		return unusable(err)
	}
	p.gone, p.number = gone, highest
	return nil
}

// marked returns x.serial; known is false, and it is 0, where it is missing or damaged, which the
// open of the storage reports. Any other error is returned: a mark that could not be read says
// nothing about the bundles behind it. It is read before the directories, because another process
// puts it after its bundles.
func (s *Store) marked() (last zodb.TID, known bool, err error) {
	v, err := s.files.Mark(layout.XSerial)
	if errors.Is(err, zodb.ErrCorrupt) {
		return 0, false, nil
	}
	return zodb.TID(v), err == nil, err
}
