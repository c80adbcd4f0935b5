package bundled

import (
	"bufio"
	"context"
	"io"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// The policy of merges and rewritings.
const (
	// mergeFactor neighbours of about one size become one.
	mergeFactor = 4
	// mergeSize and mergeMembers bound the bundle that a merge makes, in bytes and members.
	mergeSize    = 256 << 20
	mergeMembers = 1 << 20
	// smallest is the size below which sizes are not told apart.
	smallest = 64 << 10
	// manyInB is from how many bundles on those of B are merged.
	manyInB = 64
	// restEvery is how many bytes are written at a time.
	restEvery = 4 << 20
)

// again writes one bundle again, as the next generation.
func (c *chore) again(ctx context.Context, i int) error {
	c.name = c.v.parts[i].name
	c.name.Generation++
	return c.merge(ctx, i, i+1)
}

// mergeB merges neighbours in B, if there are many.
func (c *chore) mergeB(ctx context.Context) (found bool, err error) {
	first := len(c.v.parts)
	for first > 0 && c.v.parts[first-1].side == store.B {
		first--
	}
	if len(c.v.parts)-first < manyInB {
		return false, nil
	}
	from, to := c.neighbours(first)
	if from == to {
		return false, nil
	}
	c.name = bundle.Name{Min: c.v.parts[from].name.Min, Max: c.v.parts[to-1].name.Max}
	return true, c.merge(ctx, from, to)
}

// merge writes some neighbours aside into one bundle, without members that are gone for good. It carries
// the list of those that can be brought back, and of those that speak.
func (c *chore) merge(ctx context.Context, from, to int) error {
	c.from, c.to = from, to
	first, last := &c.v.parts[from], &c.v.parts[to-1]
	sources := make([]bundle.Source, 0, to-from)
	for i := from; i < to; i++ {
		p := &c.v.parts[i]
		source := bundle.Source{Reader: p.Reader, Gone: p.gone}
		going, err := c.going(ctx, i)
		if err != nil {
			return err
		}
		if going.members != nil {
			source.Drop = func(number int64) bool { return going.members.Contains(uint32(number)) }
		}
		sources = append(sources, source)
	}
	err := c.s.files.WriteAside(func(f vfs.File) error {
		w := bufio.NewWriterSize(&restingWriter{Writeback: vfs.Writeback{File: f, Step: restEvery}, o: &c.o, clock: c.s.o.Clock, begun: c.s.o.Clock()}, 256<<10)
		_, err := bundle.Merge(ctx, w, bundle.Options{Identity: c.s.o.Identity, Min: c.name.Min, Max: c.name.Max, Generation: c.name.Generation,
			Previous: first.Previous, HighestOID: last.HighestOID, Workers: workers()}, sources)
		if err == nil {
			err = w.Flush()
		}
		return err
	})
	if err != nil {
		return err
	}
	c.made, c.publish = true, c.putMerged
	return nil
}

// restingWriter rests in between, so that nobody has to wait for all of its data at once.
type restingWriter struct {
	vfs.Writeback
	o     *store.Tending
	clock func() time.Time
	begun time.Time
	since int64 // bytes since the last rest
}

var _ io.Writer = (*restingWriter)(nil)

// Write implements [io.Writer].
func (w *restingWriter) Write(b []byte) (int, error) {
	n, err := w.Writeback.Write(b)
	if w.since += int64(n); err != nil || w.since < restEvery {
		return n, err
	}
	w.since = 0
	if w.o.Rest != nil {
		w.o.Rest(w.clock().Sub(w.begun))
	}
	w.begun = w.clock()
	return n, nil
}

// level is about the logarithm of a size.
func (s *Store) level(size int64) (level int) {
	for limit := int64(smallest); size >= limit && level < 32; limit *= int64(s.o.MergeFactor) {
		level++
	}
	return level
}

// neighbours chooses parts to merge, of those from first on: MergeFactor neighbours of one level, the
// lowest there are, and the smaller ones between them. They are from..to-1; nothing if these are
// equal.
func (c *chore) neighbours(first int) (from, to int) {
	s, v := c.s, c.v
	highest := s.level(s.o.MergeSize)
	for level := 0; level <= highest; level++ {
		for from = first; from < len(v.parts); from = max(from+1, to) {
			if to = c.run(from, level); to > from {
				return from, to
			}
		}
	}
	return 0, 0
}

// run returns the end of a run that is worth a merge and begins with a part; the part itself:
// there is none.
func (c *chore) run(from, level int) (to int) {
	s, v := c.s, c.v
	var size, members int64
	same := 0
	for to = from; to < len(v.parts) && same < s.o.MergeFactor; to++ {
		p := &v.parts[to]
		l := s.level(p.size)
		size += p.size
		members += p.Revisions + p.Transactions
		if l > level || size > s.o.MergeSize || !c.fits(size) || members > mergeMembers || p.damaged.Load() {
			break
		}
		if to > from && v.gapBelow(to) {
			break // the gap would not be reported any more
		}
		if l == level {
			same++
		}
	}
	if same < s.o.MergeFactor {
		return from
	}
	return to
}

// fits reports whether there is room for a file.
func (c *chore) fits(size int64) bool { return c.o.Room == 0 || size <= c.o.Room }
