package check

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/zodb"
)

// rank says how much it matters that an object refers to a missing one.
type rank int

const (
	// byReachable: it can be reached from the root object, or nobody has looked.
	byReachable rank = iota
	// byKept: it can't, but a pack to x.packed would keep it: it was written since, or
	// can be reached from an object that was, or from a revision that undo can bring
	// back.
	byKept
	// byGarbage: a pack removes it.
	byGarbage
)

// frontierRoom is how many objects are remembered that are reached and not yet
// read. For more of them the sets are looked through again.
const frontierRoom = 1 << 16

// reach finds out which objects can be reached, from which others, and which of either
// refer to missing objects. It reads each current revision once.
//
// It follows the same references as pack: strong ones of current revisions and, of
// reached objects, those of revisions that were current at x.packed or came later; from
// the root object and from all objects that were written since. So a pack to x.packed
// removes exactly the objects that it does not reach.
type reach struct {
	c      *checker
	absent *oidset.Set             // objects that are missing, as all below
	wild   map[zodb.OID]*referrers // those for which there was no room
	found  *danglingRefs           // the references to them
	rank   rank                    // of the objects that are reached now

	// Sets of objects: that are reached; those of them that were read; that are to be
	// reached when it is the turn of byKept; that are reached, but have no pointer.
	all, done, later, headless *oidset.Set

	// failed: the reached objects are unknown, because one of them can't be read, or
	// because there is no memory for it.
	failed atomic.Bool

	room int
	mu   sync.Mutex
	idle sync.Cond  // over mu: an object came to the list, or a worker has done its share
	list []zodb.OID // guarded by mu; reached and not read, at most room
	busy int        // guarded by mu; workers that read
}

// reach looks again at the current revisions, and returns the references to
// missing objects with their ranks; nil if these can't be told.
func (c *checker) reach(ctx context.Context, absent *oidset.Set) *danglingRefs {
	if c.wild.dropped > 0 {
		return nil
	}
	r := newReach(c, absent)
	r.reached(0, nil)
	r.spread(ctx)
	if c.everPacked() {
		r.rank = byKept
		for oid := range r.later.Each() {
			r.reached(oid, nil)
		}
		r.written(ctx)
		r.spread(ctx)
	}
	r.rest(ctx)
	if r.failed.Load() || ctx.Err() != nil {
		return nil
	}
	return r.found
}

func newReach(c *checker, absent *oidset.Set) *reach {
	r := &reach{c: c, absent: absent, wild: c.wild.targets, found: new(danglingRefs), rank: byReachable, room: frontierRoom}
	third := c.memoryLimit * 2 / 3 // of the memory of two other sets before
	r.all, r.done, r.later = oidset.New(third), oidset.New(third), oidset.New(third)
	r.headless = oidset.New(c.memoryLimit / 8)
	r.idle.L = &r.mu
	return r
}

// missing reports whether an object is one that references dangle to.
func (r *reach) missing(oid zodb.OID) bool { return r.absent.Has(oid) || r.wild[oid] != nil }

// reached notes that an object is, and appends it to fresh if that is new.
func (r *reach) reached(oid zodb.OID, fresh []zodb.OID) []zodb.OID {
	if r.add(r.all, oid) {
		fresh = append(fresh, oid)
	}
	return fresh
}

// add adds an object to a set, for which there has to be room, and reports
// whether it is new there.
func (r *reach) add(s *oidset.Set, oid zodb.OID) bool {
	ok, fresh := s.Add(oid)
	if !ok {
		r.failed.Store(true)
	}
	return fresh
}

// spread reads the reached objects, and those that they lead to, until nothing is left.
func (r *reach) spread(ctx context.Context) {
	for r.refill(ctx) {
		var all sync.WaitGroup
		for range r.c.workers {
			all.Go(func() { r.work(ctx) })
		}
		all.Wait()
	}
}

// refill fills the list, which is empty, from the sets. It reports whether
// there is something to do.
func (r *reach) refill(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = r.list[:0]
	if r.failed.Load() || ctx.Err() != nil {
		return false
	}
	for oid := range r.all.Without(r.done) {
		if len(r.list) == r.room {
			break
		}
		r.list = append(r.list, oid)
	}
	return len(r.list) > 0
}

func (r *reach) work(ctx context.Context) {
	var w worker
	var fresh []zodb.OID
	batch := make([]zodb.OID, 0, batchSize)
	for {
		if batch = r.take(batch[:0]); len(batch) == 0 {
			return
		}
		fresh = fresh[:0]
		for _, oid := range batch {
			if ctx.Err() != nil {
				r.failed.Store(true)
			}
			if r.failed.Load() {
				break
			}
			r.add(r.done, oid)
			fresh = r.visit(&w, oid, fresh)
		}
		r.give(fresh)
	}
}

// take returns objects to be read, none if all are. While others read, it waits for their
// findings.
func (r *reach) take(batch []zodb.OID) []zodb.OID {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.list) == 0 && r.busy > 0 && !r.failed.Load() {
		r.idle.Wait()
	}
	if len(r.list) == 0 || r.failed.Load() {
		return nil
	}
	rest := len(r.list) - min(cap(batch), 1+len(r.list)/r.c.workers)
	batch = append(batch, r.list[max(0, rest):]...)
	r.list = r.list[:max(0, rest)]
	r.busy++
	return batch
}

// give ends the work that take began.
func (r *reach) give(fresh []zodb.OID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy--
	r.list = append(r.list, fresh[:min(len(fresh), r.room-len(r.list))]...)
	r.idle.Broadcast()
}

// visit reads an object that is reached, and appends the objects that it leads to to
// fresh.
func (r *reach) visit(w *worker, oid zodb.OID, fresh []zodb.OID) []zodb.OID {
	c := r.c
	p, s, _ := c.v.head(w, oid)
	if s == missing && oid != 0 {
		r.add(r.headless, oid) // only older revisions refer to it
		return fresh
	}
	since := c.packed
	for tid := p.tid; s == sound; {
		var o object
		o, s, _ = c.readObject(w, layout.Revision(oid, tid))
		current := tid == p.tid
		if current {
			since = c.keptSince(o)
		}
		if s == missing && !current && c.packedAway(w, oid, tid) {
			return fresh
		}
		if s != sound || len(o.Data) == 0 && current && oid == 0 {
			break
		}
		if len(o.Data) > 0 {
			refs, err := w.scanner.AppendStrongRefs(w.refs[:0], o.Data)
			w.refs = refs
			if err != nil {
				break
			}
			by := r.rank
			if !current {
				by = byKept // references that undo brings back would dangle
			}
			for _, to := range refs {
				switch {
				case r.missing(to):
					r.found.add(reference{to: to, from: oid, fromTID: tid, rank: by})
				case by == r.rank:
					fresh = r.reached(to, fresh)
				default:
					r.add(r.later, to)
				}
			}
		}
		if o.Previous == 0 || !c.everPacked() || c.packable(tid, o.Previous, since) {
			return fresh
		}
		tid = o.Previous
	}
	r.failed.Store(true)
	return fresh
}

// written marks the objects that were written since x.packed as reached.
func (r *reach) written(ctx context.Context) {
	r.c.v.walk(ctx, r.c.workers, visitor{files: func(ctx context.Context, _ *worker, entries []found) {
		for _, f := range entries {
			if n := f.name; n.Kind == layout.KindRevision && n.TID >= r.c.packed && !r.missing(n.OID) {
				r.reached(n.OID, nil)
			}
		}
	}})
}

// rest looks at the unreached objects. And if a missing object that is reached has
// revisions, its pointer was lost, and the objects that it leads to are unknown.
func (r *reach) rest(ctx context.Context) {
	c := r.c
	c.v.walk(ctx, c.workers, visitor{files: func(ctx context.Context, w *worker, entries []found) {
		for _, f := range entries {
			if r.failed.Load() || ctx.Err() != nil {
				return
			}
			switch n := f.name; {
			case n.Kind == layout.KindRevision && c.everPacked():
				if r.headless.Has(n.OID) || r.missing(n.OID) && r.found.matters(n.OID) && !c.hasPointer(w, n.OID) {
					r.failed.Store(true)
				}
			case f.head && !r.all.Has(n.OID):
				c.eachReference(w, f, func(ref reference) {
					if r.missing(ref.to) {
						ref.rank = byKept
						if c.beforePack(ref.fromTID) {
							ref.rank = byGarbage
						}
						r.found.add(ref)
					}
				})
			}
		}
	}})
}

// hasPointer tells an object that was deleted from one that has lost its pointer.
func (c *checker) hasPointer(w *worker, oid zodb.OID) bool {
	_, s, _ := c.v.head(w, oid)
	return s != missing
}
