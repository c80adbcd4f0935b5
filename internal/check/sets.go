package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// sets compares the revisions that there are with those that histories lead
// to and those that transactions list, and names the differences.
func (c *checker) sets(ctx context.Context) {
	var histories, lists, blobs bucketSet
	histories.addSome(c.histories)
	lists.addSome(c.lists)
	r := &resolver{c: c, histories: &histories, lists: &lists}
	if histories.count+lists.count > 0 {
		r.files(ctx)
	}
	if lists.count > 0 {
		r.listed(ctx)
	}
	// Only now, because the revisions without history had to be read for it.
	blobs.addDifference(c.blobsSeen, c.blobsWanted)
	if blobs.count > 0 {
		r.blobs(ctx, &blobs)
	}
	if ctx.Err() == nil {
		r.report()
	}
}

// resolver names the members in which sets differ.
type resolver struct {
	c                *checker
	histories, lists *bucketSet

	mu          sync.Mutex
	lines       map[zodb.OID]*line    // guarded by mu; a cache
	linesSize   int                   // guarded by mu
	withoutTx   map[zodb.TID]*orphans // guarded by mu
	lostObjects map[zodb.OID]*lost    // guarded by mu
	headless    map[zodb.OID]*lost    // guarded by mu
	pointers    map[zodb.OID]struct{} // guarded by mu; objects whose pointer had its finding
	dropped     map[droppedKind]int64 // guarded by mu
}

// droppedKind is the common part of findings that are left out.
type droppedKind struct {
	kind     Kind
	severity Severity
}

// files looks again at the revision files of the buckets that differ.
func (r *resolver) files(ctx context.Context) {
	r.c.v.walk(ctx, r.c.workers, visitor{files: func(ctx context.Context, w *worker, entries []found) {
		for _, f := range entries {
			if f.name.Kind != layout.KindRevision || ctx.Err() != nil {
				continue
			}
			bucket := r.c.hash.objectBucket(f.name.OID)
			if r.histories.bits[bucket] {
				r.inHistory(w, f)
			}
			if r.lists.bits[bucket] && f.name.TID >= r.c.packed {
				r.inTransaction(w, f)
			}
		}
	}})
}

// inHistory finds out why a revision may not be in the history of its object.
func (r *resolver) inHistory(w *worker, f found) {
	c, oid, tid := r.c, f.name.OID, f.name.TID
	l := r.line(w, oid)
	if l.has(tid) {
		return
	}
	// Nobody has looked into it yet.
	skipped := l.end == sound && tid < l.tids[0]
	o, s := c.revision(w, f.name, c.beforePack(tid) && (skipped || l.pointer == missing && !c.wild.matters(oid)))
	if s != missing {
		c.references(w, o)
	}
	switch {
	case l.pointer == missing:
		// Where references dangle to it, that is reported, which is enough if that is
		// damage or if the revision does not say anything else.
		if !c.wild.has(oid) || !c.wild.matters(oid) && !c.beforePack(tid) {
			r.behead(l, f.name, o)
		}
	case l.end != sound && (tid < l.at || len(l.tids) == 0):
		// It follows from the finding at l.at.
	case tid > l.tids[0]:
		if r.once(oid) {
			c.out.add(r.withClass(c.object(PointerNotNewest, oid, 0, l.path, "revision "+tid.String()+" is later"), o))
		}
	default:
		f := c.object(RevisionNotInHistory, oid, tid, f.path, "no later revision leads to it")
		if tid < c.packed {
			f.Severity = Note
			f.Detail += "; " + leftByPack
		}
		c.out.add(r.withClass(f, o))
	}
}

func (r *resolver) withClass(f Finding, o object) Finding {
	f.Class = class(o.Data)
	return f
}

// once reports whether the pointer of an object had no finding yet.
func (r *resolver) once(oid zodb.OID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.pointers[oid]; ok {
		return false
	}
	if len(r.pointers) == maxRemembered {
		r.drop(PointerNotNewest, Damage)
		return false
	}
	if r.pointers == nil {
		r.pointers = make(map[zodb.OID]struct{})
	}
	r.pointers[oid] = struct{}{}
	return true
}

// drop counts a finding that is left out. r.mu must be held.
func (r *resolver) drop(k Kind, s Severity) {
	if r.dropped == nil {
		r.dropped = make(map[droppedKind]int64)
	}
	r.dropped[droppedKind{k, s}]++
}

// orphans are revisions of a transaction that has no file.
type orphans struct {
	first found
	count int
}

// inTransaction finds out whether the transaction of a revision lists it.
func (r *resolver) inTransaction(w *worker, f found) {
	c, tid := r.c, f.name.TID
	l := c.listing(w, tid)
	switch {
	case l.state == unusable || c.missingTx.has(tid):
	case l.state == missing:
		if c.serialKnown && tid > c.serial {
			return // x-serial-old has counted it
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		o := r.withoutTx[tid]
		switch {
		case o != nil && f.path < o.first.path:
			o.first = f
			o.count++
		case o != nil:
			o.count++
		case len(r.withoutTx) == maxRemembered:
			r.drop(RevisionWithoutTransaction, Damage)
		default:
			if r.withoutTx == nil {
				r.withoutTx = make(map[zodb.TID]*orphans)
			}
			r.withoutTx[tid] = &orphans{f, 1}
		}
	default:
		if !l.has(f.name.OID) {
			c.out.add(c.object(RevisionNotListed, f.name.OID, tid, f.path, "transaction "+tid.String()+" does not list the object"))
		}
	}
}

// listed looks for the revisions that transactions list, in the buckets that differ.
func (r *resolver) listed(ctx context.Context) {
	c := r.c
	c.transactions(ctx, func(w *worker, tid zodb.TID) {
		if tid < c.packed {
			return
		}
		t, s, _ := c.readTransaction(w, tid)
		if s != sound {
			return
		}
		for _, oid := range t.oids {
			if r.lists.bits[c.hash.objectBucket(oid)] && ctx.Err() == nil {
				r.exists(w, t, oid)
			}
		}
	})
}

// exists finds out whether a revision that a transaction lists is there, and
// if not, whether that has been reported.
func (r *resolver) exists(w *worker, t transaction, oid zodb.OID) {
	c := r.c
	n := layout.Revision(oid, t.tid)
	if _, _, err := c.v.size(n); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	l := r.line(w, oid)
	switch {
	case l.pointer == missing:
		if !c.wild.matters(oid) { // else it is reported as a dangling reference
			r.lose(t, oid)
		}
	case l.end == missing && l.at == t.tid:
		// The walk over the history has reported it.
	case l.end != sound && t.tid < l.at:
		c.out.add(c.object(RevisionMissing, oid, t.tid, c.v.place(n), "its transaction lists it"))
	default:
		c.out.add(c.object(TransactionListsMissingRevision, oid, t.tid, t.path, "there is no "+c.v.place(n)))
	}
}

func (r *resolver) lose(t transaction, oid zodb.OID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lostObjects[oid]
	if l == nil {
		if len(r.lostObjects) == maxRemembered {
			r.drop(TransactionListsMissingRevision, Damage)
			return
		}
		if r.lostObjects == nil {
			r.lostObjects = make(map[zodb.OID]*lost)
		}
		l = new(lost)
		r.lostObjects[oid] = l
	}
	l.count++
	if t.tid > l.tid {
		l.tid, l.path = t.tid, t.path
	}
}

// blobs looks at the blob files of the buckets that differ.
func (r *resolver) blobs(ctx context.Context, differ *bucketSet) {
	c := r.c
	c.v.walk(ctx, c.workers, visitor{files: func(ctx context.Context, w *worker, entries []found) {
		for _, f := range entries {
			if f.name.Kind != layout.KindBlob || !differ.bits[c.hash.objectBucket(f.name.OID)] || ctx.Err() != nil {
				continue
			}
			o, s, _ := c.readObject(w, layout.Revision(f.name.OID, f.name.TID))
			if s == unusable || s == sound && !o.BlobSum.IsZero() {
				continue
			}
			finding := c.object(BlobWithoutRevision, f.name.OID, f.name.TID, f.path, "there is no such revision")
			finding.Severity = Warning
			if s == sound {
				finding.Detail = "the revision has no blob"
			} else if c.beforePack(f.name.TID) {
				finding.Severity = Note
				finding.Detail += "; " + leftByPack
			}
			c.out.add(finding)
		}
	}})
}

// report reports the collected findings.
func (r *resolver) report() {
	c := r.c
	for tid, o := range r.withoutTx {
		f := c.object(RevisionWithoutTransaction, o.first.name.OID, tid, o.first.path,
			fmt.Sprintf("%s of this transaction, but no %s", human.Number(int64(o.count), "revision"), c.v.place(layout.Transaction(tid))))
		c.out.add(f)
	}
	for oid, l := range r.lostObjects {
		c.out.add(c.object(TransactionListsMissingRevision, oid, l.tid, l.path,
			"the object has no pointer; "+human.Plural(int64(l.count), "transaction lists", "transactions list")+" revisions of it that are not there"))
	}
	for oid := range r.headless {
		if c.undoable.Has(oid) {
			c.blind.Store(true) // it is not garbage, so others may not be either
		}
	}
	for oid, l := range r.headless {
		detail := "revision " + l.tid.String() + " is there"
		if l.count > 1 {
			detail = fmt.Sprintf("%s are there, the last of them %s", human.Number(int64(l.count), "revision"), l.tid)
		}
		f := c.object(PointerMissing, oid, 0, l.path, detail)
		f.Class, f.Severity = l.class, c.headlessSeverity(l.tid)
		if f.Severity == Note {
			f.Detail += "; " + leftByPack
		}
		c.out.add(f)
	}
	for k, n := range r.dropped {
		c.out.add(Finding{Kind: TooMany, Severity: k.severity, Detail: fmt.Sprintf("%s of kind %s", human.Plural(int64(n), "more finding", "more findings"), k.kind)})
	}
}
