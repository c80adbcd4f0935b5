package check

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// reference is one strong reference, of a current revision if nothing else is said.
type reference struct {
	to, from zodb.OID
	fromTID  zodb.TID
	rank     rank // of from
}

// namedReferrers is how many of the objects that refer to a missing one are named.
const namedReferrers = 10

// referrers are the objects that refer to a missing one.
type referrers struct {
	first []reference // ascending by rank, then from; at most namedReferrers, at least one
	count int
}

// garbage reports whether only objects that a pack removes refer to it.
func (r *referrers) garbage() bool { return r.first[0].rank == byGarbage }

func (r *referrers) add(ref reference) {
	if slices.ContainsFunc(r.first, func(o reference) bool { return o.from == ref.from }) {
		return // an older revision of it
	}
	r.count++
	i, _ := slices.BinarySearchFunc(r.first, ref, func(a, b reference) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.from, b.from))
	})
	if i < namedReferrers {
		r.first = slices.Insert(r.first, i, ref)
		r.first = r.first[:min(len(r.first), namedReferrers)]
	}
}

// danglingRefs collects references to objects that do not exist. References without room
// are only counted.
type danglingRefs struct {
	mu      sync.Mutex
	targets map[zodb.OID]*referrers // guarded by mu
	// References to further targets: all, and those by garbage.
	dropped, droppedGarbage int64 // guarded by mu
}

func (d *danglingRefs) add(ref reference) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.targets[ref.to]
	if r == nil {
		if len(d.targets) == maxRemembered {
			d.dropped++
			if ref.rank == byGarbage {
				d.droppedGarbage++
			}
			return
		}
		if d.targets == nil {
			d.targets = make(map[zodb.OID]*referrers)
		}
		r = new(referrers)
		d.targets[ref.to] = r
	}
	r.add(ref)
}

// has reports whether an object is known to be missing and referred to.
func (d *danglingRefs) has(oid zodb.OID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.targets[oid] != nil
}

// matters reports whether an object is known to be missing and referred to by one that is
// not garbage.
func (d *danglingRefs) matters(oid zodb.OID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.targets[oid]
	return r != nil && !r.garbage()
}

// dangling reports references of current revisions to objects that do not
// exist. The bits say which objects are missing, but not their referrers, nor whether
// those are reachable; so only if there are such objects, the current revisions are read
// again.
func (c *checker) dangling(ctx context.Context) {
	absent := oidset.New(c.memoryLimit)
	some := false
	for oid := range c.referenced.Without(c.exists) {
		if ctx.Err() != nil {
			return
		}
		// Exists has no bit for an object for which there was no room.
		if !c.loads(oid) {
			absent.Add(oid)
			some = true
		}
	}
	if !some && len(c.wild.targets) == 0 {
		return
	}
	c.exists, c.referenced = nil, nil // their memory is needed for other sets
	var refs *danglingRefs
	if !c.minimal {
		refs = c.reach(ctx, absent)
	}
	switch {
	case refs != nil:
		c.wild = refs
	case some:
		c.blind.Store(true)
		c.findReferrers(ctx, absent)
	default:
		c.blind.Store(true)
	}
	if ctx.Err() == nil {
		c.reportDangling()
	}
}

// findReferrers walks over all objects and collects references to absent ones.
func (c *checker) findReferrers(ctx context.Context, absent *oidset.Set) {
	c.v.walk(ctx, c.workers, visitor{files: func(ctx context.Context, w *worker, entries []found) {
		for _, f := range entries {
			if ctx.Err() != nil {
				return
			}
			c.eachReference(w, f, func(ref reference) {
				if absent.Has(ref.to) {
					c.wild.add(ref)
				}
			})
		}
	}})
}

// eachReference calls f for the references of the current revision that a head stands for.
func (c *checker) eachReference(w *worker, of found, f func(ref reference)) {
	o, ok := c.currentOf(w, of)
	if !ok {
		return
	}
	refs, err := w.scanner.AppendStrongRefs(w.refs[:0], o.Data)
	w.refs = refs
	if err != nil {
		return
	}
	for _, to := range refs {
		f(reference{to: to, from: of.name.OID, fromTID: o.Serial})
	}
}

// currentOf reads the current revision that a head stands for.
func (c *checker) currentOf(w *worker, f found) (object, bool) {
	if !f.head {
		return object{}, false
	}
	n := f.name
	if !c.minimal {
		h, s, _ := c.v.head(w, n.OID)
		if s != sound {
			return object{}, false
		}
		n = layout.Revision(n.OID, h.tid)
	}
	o, s, _ := c.readObject(w, n)
	return o, s != missing && len(o.Data) > 0
}

// reportDangling reports one finding for each missing object.
func (c *checker) reportDangling() {
	var w worker
	for _, oid := range slices.Sorted(maps.Keys(c.wild.targets)) {
		r := c.wild.targets[oid]
		f := c.object(DanglingReference, oid, 0, c.v.place(layout.Object(oid)), r.String())
		f.From, f.FromTID = r.first[0].from, r.first[0].fromTID
		f.Class, f.FromClass = c.referredClass(&w, r.first[0])
		if r.garbage() {
			f.Severity = Note
		}
		c.out.add(f)
	}
	if n := c.wild.dropped - c.wild.droppedGarbage; n > 0 {
		c.out.add(Finding{Kind: TooMany, Severity: Damage, Detail: fmt.Sprintf("%s to missing objects", human.Plural(int64(n), "more reference", "more references"))})
	}
	if n := c.wild.droppedGarbage; n > 0 {
		c.out.add(Finding{Kind: TooMany, Severity: Note, Detail: fmt.Sprintf("%s to missing objects, of objects that nothing reaches", human.Plural(int64(n), "more reference", "more references"))})
	}
}

// referredClass is the class of a missing object as the one that refers to it
// names it, or nothing: not every reference does; and the class of that one.
func (c *checker) referredClass(w *worker, ref reference) (class, from string) {
	n := layout.Revision(ref.from, ref.fromTID)
	if c.minimal {
		n = layout.Object(ref.from)
	}
	o, s, _ := c.readObject(w, n)
	if s == missing {
		return "", ""
	}
	if module, name, err := pickle.Class(o.Data); err == nil {
		from = module + "." + name
	}
	refs, err := pickle.References(o.Data)
	if err != nil {
		return "", from
	}
	for _, r := range refs {
		if r.OID == ref.to && r.Strong() && r.Class != "" {
			return r.Class, from
		}
	}
	return "", from
}

func (r *referrers) String() string {
	which, harmless := "", ""
	if r.garbage() {
		which = "that nothing reaches "
		harmless = "; this does no harm: an interrupted pack leaves such objects, and the next one removes them"
	}
	var b strings.Builder
	if r.count == 1 {
		fmt.Fprintf(&b, "one object %srefers to it:", which)
	} else {
		fmt.Fprintf(&b, "%s %srefer to it:", human.Number(int64(r.count), "object"), which)
	}
	for _, ref := range r.first {
		b.WriteString(" " + ref.from.String())
	}
	if r.count > len(r.first) {
		b.WriteString(" …")
	}
	b.WriteString(harmless)
	return b.String()
}
