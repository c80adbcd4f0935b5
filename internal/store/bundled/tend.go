package bundled

import (
	"context"
	"io"

	"github.com/dirstorage/dirstorage/internal/bundle"
)

// The policy of merges and rewritings.
const (
	// mergeFactor neighbours of about one size become one.
	mergeFactor = 4
	// mergeSize and mergeMembers bound what comes of a merge, in bytes and members.
	mergeSize    = 256 << 20
	mergeMembers = 1 << 20
	// smallest is the size below which sizes are not told apart.
	smallest = 64 << 10
)

// Tend does one piece of work that makes what is there cheaper: it removes files that do not
// count any more, rewrites a bundle of which packs have removed half, or merges neighbours. more:
// there may be another one. Nothing is done while B is in use: A may have to stand still. It is
// called by the goroutine of [store.Writer]; with the end of ctx it ends, and has changed nothing.
//
// What it makes is durable under its name before what it replaces is removed, so a crash leaves
// files that do not count, and nothing else.
func (s *Store) Tend(ctx context.Context) (more bool, err error) {
	if s.o.Beside || s.o.Still || s.files.ReadsB() {
		return false, nil
	}
	if err := s.sure(); err != nil {
		return false, err
	}
	if len(s.now.leftovers) > 0 {
		return true, s.removeLeftovers()
	}
	v := s.view()
	defer v.release()
	if i, err := v.wasteful(ctx); err != nil || i >= 0 {
		if err != nil {
			return false, err
		}
		n := v.parts[i].name
		n.Generation++
		return true, s.merge(ctx, v, i, i+1, n)
	}
	from, to, err := s.neighbours(ctx, v)
	if err != nil || from == to {
		return false, err
	}
	return true, s.merge(ctx, v, from, to, bundle.Name{Min: v.parts[from].name.Min, Max: v.parts[to-1].name.Max})
}

// removeLeftovers removes what does not count.
func (s *Store) removeLeftovers() error {
	if err := s.files.Sync(); err != nil { // what counts in their places is durable
		return err
	}
	for _, name := range s.now.leftovers {
		if err := s.files.RemoveBeside(name); err != nil {
			return s.changed(err)
		}
	}
	return s.changed(s.files.Sync())
}

// merge writes some neighbours into one bundle, without what is gone for good.
func (s *Store) merge(ctx context.Context, v *view, from, to int, n bundle.Name) error {
	first, last := &v.parts[from], &v.parts[to-1]
	sources := make([]bundle.Source, 0, to-from)
	for i := from; i < to; i++ {
		p := &v.parts[i]
		source := bundle.Source{Reader: p.Reader}
		if gone := p.gone.ForGood(); gone != nil {
			source.Drop = func(number int64) bool { return gone.Contains(uint32(number)) }
		}
		sources = append(sources, source)
	}
	err := s.files.PutBeside(dirOf(first.side)+"/"+n.String(), func(w io.Writer) error {
		_, err := bundle.Merge(ctx, w, bundle.Options{Identity: s.o.Identity, Min: n.Min, Max: n.Max, Generation: n.Generation,
			Previous: first.Previous, HighestOID: last.HighestOID, Workers: workers()}, sources)
		return err
	})
	if err == nil {
		err = s.files.Sync()
	}
	return s.changed(err)
}

// level is about the logarithm of a size.
func (s *Store) level(size int64) (level int) {
	for limit := int64(smallest); size >= limit && level < 32; limit *= int64(s.o.MergeFactor) {
		level++
	}
	return level
}

// neighbours chooses what is merged: MergeFactor neighbours of one level, the lowest there are,
// and what lies between them. The members of from..to-1 of the parts; nothing if they are equal.
func (s *Store) neighbours(ctx context.Context, v *view) (from, to int, err error) {
	highest := s.level(s.o.MergeSize)
	for level := 0; level <= highest; level++ {
		for from = 0; from < len(v.parts); from = max(from+1, to) {
			if to, err = s.run(ctx, v, from, level); err != nil || to > from {
				return from, to, err
			}
		}
	}
	return 0, 0, nil
}

// run returns the end of a run that is worth a merge and begins with a part; the part itself:
// there is none.
func (s *Store) run(ctx context.Context, v *view, from, level int) (to int, err error) {
	var size, members int64
	same := 0
	for to = from; to < len(v.parts) && same < s.o.MergeFactor; to++ {
		p := &v.parts[to]
		l := s.level(p.size)
		size += p.size
		members += p.Revisions + p.Transactions
		if l > level || size > s.o.MergeSize || members > mergeMembers || p.gone.Aside() {
			break
		}
		if l == level {
			same++
		}
	}
	if same < s.o.MergeFactor {
		return from, nil
	}
	for i := from; i < to; i++ {
		if speaks, err := v.speaks(ctx, i); err != nil || speaks {
			return from, err
		}
	}
	return to, nil
}
