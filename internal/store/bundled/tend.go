package bundled

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// chore is one piece of work that makes the files cheaper: files that do not count any more
// are removed, a table that is lacking is made, items put aside become gone for good, the table
// learns the places in a bundle that was merged, a bundle of which packs have removed much is rewritten, or neighbours are merged.
//
// While B is in use nothing of A is touched. Where B has many bundles, they are merged, because
// reads of objects that the table does not know look into each.
type chore struct {
	s *Store
	o store.Tending
	v *view
	b bool // B is in use
	// doubtful is the part of v that is in doubt, and is written again; -1: there is none.
	doubtful int

	gone  int64         // of the table, at the moment of v
	lacks bool          // there is no table, and there could be one
	wait  time.Duration // until one may be tried again
	later time.Duration // until there may be something to do that could not be done; 0: there is not
	table *table        // that was made; nil: none was

	publish func() (store.Tended, error) // of Prepare
	// Of a merge:
	from, to int // of the parts of v
	name     bundle.Name
	made     bool // the file aside is there
	wasted   bool // it is one bundle, written again without removed members
	leaves   map[int]going
}

// Tend implements [store.Tender].
func (s *Store) Tend(o store.Tending) (store.Chore, error) {
	if s.o.Beside || s.o.Still {
		return nil, nil
	}
	if !s.pending.empty() {
		return nil, nil // a pack is going on, or its end is near: its removals are on the disk with the next Sync
	}
	if err := s.sure(); err != nil {
		return nil, err
	}
	if o.Least == 0 {
		o.Least = 0.5
	}
	c := &chore{s: s, o: o, v: s.view(), b: s.files.ReadsB(), doubtful: s.doubtful()}
	if t := s.table.Load(); t != nil {
		c.gone = t.gone
	}
	if c.lacks = s.lacksTable(c.v); c.lacks {
		c.wait = max(0, s.lack.retry.Sub(s.o.Clock()))
	}
	return c, nil
}

// Prepare implements [store.Chore]. A bundle that turns out to be damaged is left alone from then on,
// and the work goes on around it.
func (c *chore) Prepare(ctx context.Context) (found bool, err error) {
	for {
		if found, err = c.prepare(ctx); err == nil || !c.s.leaveAlone(c.v, err) {
			return found, err
		}
	}
}

func (c *chore) prepare(ctx context.Context) (found bool, err error) {
	if i := c.doubtful; i >= 0 && c.b == (c.v.parts[i].side == store.B) && !c.v.parts[i].damaged.Load() {
		return true, c.again(ctx, i)
	}
	if c.doubtful >= 0 {
		return false, nil
	}
	if slices.ContainsFunc(c.v.leftovers, c.canGo) {
		c.publish = c.removeLeftovers
		return true, nil
	}
	if found, err := c.lookAgain(ctx); found || err != nil {
		return found, err
	}
	if c.makeTable(ctx) {
		return true, ctx.Err()
	}
	if c.b {
		return c.mergeB(ctx)
	}
	if _, err := c.s.weigh(ctx, c.v); ctx.Err() != nil {
		return false, err
	} // a damaged index stops nothing else
	if n := c.listsToPurge(); n > 0 {
		if c.o.Claim != nil {
			c.o.Claim(n)
		}
		c.publish = c.purge
		return true, nil
	}
	if c.o.Reclaim { // the rest takes space
		return c.rewrite(ctx)
	}
	if more, err := c.s.table.Load().catchUpBehind(ctx, c.v, c.gone); more || err != nil {
		if errors.Is(err, zodb.ErrCorrupt) {
			return false, err
		}
		c.publish = func() (store.Tended, error) { return c.noteTable(err) }
		return true, ctx.Err()
	}
	if found, err := c.rewrite(ctx); found || err != nil {
		return found, err
	}
	from, to := c.neighbours(0)
	if from == to {
		return false, nil
	}
	c.name = bundle.Name{Min: c.v.parts[from].name.Min, Max: c.v.parts[to-1].name.Max}
	return true, c.merge(ctx, from, to)
}

// Publish implements [store.Chore].
func (c *chore) Publish() (store.Tended, error) {
	if c.publish == nil || c.b != c.s.files.ReadsB() {
		return store.Tended{}, nil
	}
	if !c.s.pending.empty() {
		return store.Tended{}, nil
	}
	if err := c.s.sure(); err != nil {
		return store.Tended{}, err
	}
	return c.publish()
}

// Again implements [store.Chore].
func (c *chore) Again() time.Duration {
	if c.lacks && c.o.Reclaim {
		return roomTry
	}
	return c.later
}

// Close implements [store.Chore].
func (c *chore) Close() error {
	var err error
	if c.table != nil {
		err = c.table.t.Close() // it is good up to its commit
	}
	if c.made {
		err = errors.Join(err, c.s.files.DropAside())
	}
	return errors.Join(err, c.v.release())
}

// mayGo reports whether a file that does not count may be removed now.
func (c *chore) mayGo(name string) bool {
	return !c.b || strings.HasPrefix(name, string(store.B)+"/")
}

// canGo is mayGo, and nobody reads it for whom it could not be kept open. Such a file is looked at again.
func (c *chore) canGo(name string) bool {
	n, number, ok := bundle.ParseName(path.Base(name))
	if !c.mayGo(name) {
		return false
	}
	if ok && number == 0 && !c.o.Reclaim && !c.s.pool.mayGo(n) {
		c.later = roomTry
		return false
	}
	return true
}

// removeLeftovers removes files that do not count. Those that count in their place are durable, unless
// they are in doubt. A power cut that brings leftovers back is harmless.
func (c *chore) removeLeftovers() (n store.Tended, err error) {
	if c.s.doubtful() >= 0 {
		return n, nil
	}
	for _, name := range c.s.now.leftovers {
		if !c.mayGo(name) {
			continue
		}
		if of, number, ok := bundle.ParseName(path.Base(name)); ok && number == 0 {
			if err = c.s.pool.keep(of, c.o.Reclaim); errors.Is(err, errHeld) {
				err = nil
				continue
			}
			if err != nil {
				break
			}
		}
		info, serr := c.s.fs.Stat(name)
		if err = c.s.files.RemoveBeside(name); err != nil {
			break
		}
		if serr == nil {
			n.Files, n.GaveBack = n.Files+1, n.GaveBack+info.Size
		}
	}
	return n, errors.Join(err, c.s.readAgain())
}

// listsToPurge returns how many bytes purge takes up, at most; 0: it has nothing to do.
func (c *chore) listsToPurge() (bytes int64) {
	for i := range c.v.parts {
		if p := &c.v.parts[i]; p.purged(c.o.Before) > 0 {
			bytes += diskBlock
			for _, set := range p.gone.Sets {
				bytes += int64(set.Members.GetSizeInBytes())
			}
		}
	}
	return bytes
}

// purge makes items gone for good that packs have put aside long ago.
func (c *chore) purge() (store.Tended, error) {
	next := make(map[bundle.Name]*bundle.Gone)
	for i := range c.s.now.parts {
		if p := &c.s.now.parts[i]; p.purged(c.o.Before) > 0 {
			next[p.name] = p.gone.Purged(c.o.Before)
		}
	}
	v := c.s.view()
	defer v.release()
	return store.Tended{}, c.s.putGone(v, next)
}

// noteTable sees to it that the places that the table has learnt are kept, or that it is made again
// after an error. That stops no merges.
func (c *chore) noteTable(err error) (store.Tended, error) {
	t := c.s.table.Load()
	switch {
	case t == nil || t.bad.Load():
	case err != nil:
		t.bad.Store(true)
		c.s.tableFailed(err)
	default:
		t.changes++
	}
	return store.Tended{}, nil
}

// readAgain makes a view of the files in the directories.
func (s *Store) readAgain() error {
	s.unsure = true
	return s.reload()
}

// putMerged gives the merged bundle its name, if its sources are as they were. Then they are removed.
func (c *chore) putMerged() (n store.Tended, err error) {
	s := c.s
	side := c.v.parts[c.from].side
	if !c.unchanged() {
		return n, nil
	}
	path := dirOf(side) + "/" + c.name.String()
	err = s.files.NameAside(path)
	c.made = false
	if err != nil {
		s.doubt = &doubt{c.name, side} // if it is there
	}
	if rerr := s.readAgain(); err != nil || rerr != nil {
		return n, fmt.Errorf("merge bundles: %w", errors.Join(err, rerr))
	}
	i := s.now.of(c.name.Min)
	if i < 0 || s.now.parts[i].name != c.name {
		return n, &zodb.CorruptError{Path: path, Reason: "it was put a moment ago and does not count"}
	}
	n, err = c.removeLeftovers()
	n.Bytes = s.now.parts[i].size
	n.GaveBack -= n.Bytes
	if c.wasted {
		n.Rewritten = 1
	}
	return n, err
}

// unchanged reports whether the bundles that were merged count still, and the same of them is gone.
func (c *chore) unchanged() bool {
	i := c.s.now.of(c.v.parts[c.from].name.Min)
	if i < 0 || i+c.to-c.from > len(c.s.now.parts) {
		return false
	}
	for k := c.from; k < c.to; k++ {
		was, is := c.v.parts[k], c.s.now.parts[i+k-c.from]
		if was.opened != is.opened || was.gone != is.gone || was.number != is.number {
			return false
		}
	}
	return true
}

// doubt is a bundle whose name may be lost in a power cut, after an error, although it is
// read. Until its range has a name that is durable nothing is removed: no sources of it, and nothing by
// packs, because a gone list of it would be lost with it.
type doubt struct {
	name bundle.Name
	side store.Side
}

// doubtful returns the part that is in doubt; -1: there is none.
func (s *Store) doubtful() int {
	if s.doubt == nil {
		return -1
	}
	i := s.now.of(s.doubt.name.Min)
	if i < 0 || s.now.parts[i].name != s.doubt.name || s.now.parts[i].side != s.doubt.side {
		s.doubt = nil // it is not there, or something that is durable counts in its place
		return -1
	}
	return i
}

// certain returns an error while a bundle is in doubt.
func (s *Store) certain() error {
	i := s.doubtful()
	if i < 0 {
		return nil
	}
	return fmt.Errorf("%s: a sync failed when it was put; nothing is removed before it is written again, in the background", s.now.parts[i].path)
}
