package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// recent is the check of the files written after a transaction.
type recent struct {
	c *checker

	mu       sync.Mutex
	pointers map[zodb.OID]struct{} // guarded by mu; objects whose pointer was looked at
	lost     []Finding             // guarded by mu; missing pointers
	oidLow   zodb.OID              // guarded by mu; the highest oid above x.oid
	serial   zodb.TID              // guarded by mu; the highest pointer above x.serial
}

// since checks the transactions later than o.Since.
func (c *checker) since(ctx context.Context) error {
	switch {
	case c.minimal:
		return fmt.Errorf("a storage of class Minimal has no transactions to go by: check it as a whole")
	case !c.serialKnown:
		return nil // its finding was made
	case c.o.Since > c.serial:
		return fmt.Errorf("tid %s is later than the last transaction, %s", c.o.Since, c.serial)
	}
	r := &recent{c: c, pointers: make(map[zodb.OID]struct{})}
	c.v.recent(ctx, c.workers, c.o.Since, c.out.add)
	run(ctx, c.workers, r.chain)
	if ctx.Err() == nil {
		c.needsRecovery()
		r.report(ctx)
	}
	return nil
}

// chain follows the transactions back, and has the writes of each looked at.
func (r *recent) chain(ctx context.Context, p *pool, w *worker) {
	c := r.c
	named, newer := "x.serial names it", c.serial+1
	for tid := c.serial; tid > c.o.Since && ctx.Err() == nil; {
		t, s, defect := c.readTransaction(w, tid)
		older, err := zodb.TID(0), error(nil)
		if s == missing {
			if tid < c.packed {
				return
			}
			c.transactionMissing(tid, named)
			if older, err = c.v.older(newer); older == tid {
				older, err = c.v.older(tid)
			}
		} else {
			c.countTransaction(w, t)
			older, newer = t.previous, tid
			named = "transaction " + tid.String() + " names it as the previous one"
		}
		if s == unusable {
			c.out.add(defect)
		}
		if s == unusable && !t.linked {
			older, err = c.v.older(tid)
		} else if s != missing && older <= c.o.Since && c.v.olderIsCheap() {
			// Nothing proves that the last link is right. In the other formats that costs too much.
			if older, err = c.v.older(tid); older > c.o.Since && older != t.previous {
				c.out.add(Finding{Kind: TransactionNotInChain, Severity: Damage, TID: older, Path: c.v.place(layout.Transaction(older)),
					Detail: fmt.Sprintf("the next later transaction, %s, does not name it as the previous one", tid)})
			}
		}
		if err != nil {
			if !told(err) {
				c.out.add(c.transactionFinding(Unreadable, transaction{tid: tid, path: t.path}, "the one before it cannot be looked for: "+err.Error()))
			}
			return
		}
		for oids := range slices.Chunk(t.oids, batchSize) {
			p.do(ctx, w, func(ctx context.Context, w *worker) {
				for _, oid := range oids {
					if ctx.Err() == nil {
						r.revision(w, oid, t.tid)
					}
				}
			})
		}
		tid = older
	}
}

// revision checks one revision and, the first time that an object comes by,
// its pointer.
func (r *recent) revision(w *worker, oid zodb.OID, tid zodb.TID) {
	c := r.c
	current := r.pointer(w, oid, tid) == tid
	o, s := c.revision(w, layout.Revision(oid, tid), false)
	switch {
	case s == missing && (current || tid >= c.packed):
		c.out.add(c.object(RevisionMissing, oid, tid, o.path, "its transaction lists it"))
	case s == missing || o.Serial == 0:
	case !current:
		c.references(w, o)
	case len(o.Data) == 0:
		c.counts.undone.Add(1)
	default:
		refs, _ := c.references(w, o)
		for _, to := range refs {
			r.refer(oid, tid, to)
		}
	}
	if s == sound && o.Previous != 0 {
		r.before(w, oid, o.Previous, tid)
	}
}

// before looks for the revision before one.
func (r *recent) before(w *worker, oid zodb.OID, tid, next zodb.TID) {
	c := r.c
	_, where, err := c.v.size(layout.Revision(oid, tid))
	if err == nil {
		return
	}
	if !errors.Is(err, fs.ErrNotExist) {
		if !told(err) {
			c.out.add(c.object(Unreadable, oid, tid, where, err.Error()))
		}
		return
	}
	switch l := c.listing(w, tid); {
	case l.state == sound && !l.has(oid):
		c.out.add(c.object(RevisionMissing, oid, tid, where, neverWrittenDetail(next)))
	case tid < c.packed || tid > c.o.Since && l.state == sound:
		// A pack may have removed it; or its transaction is looked at itself, and lists it.
	default:
		c.out.add(c.object(RevisionMissing, oid, tid, where, missingDetail(false)))
	}
}

// pointer returns the current revision of an object, 0 if there is none, and reports the
// faults of the pointer.
func (r *recent) pointer(w *worker, oid zodb.OID, atLeast zodb.TID) zodb.TID {
	c := r.c
	p, s, defect := c.v.head(w, oid)
	r.mu.Lock()
	defer r.mu.Unlock()
	if oid > c.maxOID && c.maxOIDKnown {
		r.oidLow = max(r.oidLow, oid)
	}
	if s == sound && p.tid > c.serial {
		r.serial = max(r.serial, p.tid)
	}
	if s == sound && p.tid >= atLeast {
		if _, ok := r.pointers[oid]; !ok {
			r.pointers[oid] = struct{}{}
			c.countHead(w, p)
		}
		return p.tid
	}
	if _, ok := r.pointers[oid]; ok {
		return p.tid
	}
	r.pointers[oid] = struct{}{}
	switch s {
	case missing:
		r.lost = append(r.lost, c.object(PointerMissing, oid, 0, p.path, "transaction "+atLeast.String()+" wrote the object"))
	case unusable:
		c.countHead(w, p)
		r.add(defect)
	default:
		c.countHead(w, p)
		c.out.add(c.object(PointerNotNewest, oid, 0, p.path, "revision "+atLeast.String()+" is later"))
	}
	return p.tid
}

// add reports the fault of a head, unless that was done.
func (r *recent) add(defect Finding) {
	if defect.Kind != "" {
		r.c.out.add(defect)
	}
}

// refer checks one reference; objects that were found are remembered as far as
// there is room. The pointer of one may not be among those that are looked at otherwise.
func (r *recent) refer(from zodb.OID, fromTID zodb.TID, to zodb.OID) {
	c := r.c
	if c.exists.Has(to) {
		return
	}
	h, state, defect := c.v.head(new(worker), to)
	if state == missing || state == sound && !c.hasData(to, h.tid) {
		c.wild.add(reference{to: to, from: from, fromTID: fromTID})
		return
	}
	if state == unusable {
		r.mu.Lock()
		if _, ok := r.pointers[to]; !ok {
			r.pointers[to] = struct{}{}
			r.add(defect)
		}
		r.mu.Unlock()
	}
	if to <= c.maxOID {
		c.exists.Add(to)
	}
}

func (r *recent) report(ctx context.Context) {
	c := r.c
	for _, f := range r.lost {
		if !c.wild.has(f.OID) {
			c.out.add(f)
		}
	}
	if c.o.Root && c.counts.revisions.Load() > 0 {
		c.root(ctx, new(worker))
	}
	if r.oidLow != 0 {
		c.xOIDLow(r.oidLow)
	}
	if r.serial != 0 {
		c.out.add(Finding{Kind: XSerialOld, Severity: Damage, Path: c.serialPath,
			Detail: fmt.Sprintf("it is %s, but a pointer names revision %s", c.serial, r.serial)})
	}
	c.reportDangling()
}
