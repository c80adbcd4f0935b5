package check

import (
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// countHead counts an object that has a head, which was read.
func (c *checker) countHead(w *worker, h head) {
	c.tally(w).objects++
	if h.size > 0 { // else it is no file
		c.countFile(w, h.size)
	}
	if h.old {
		c.counts.oldPointers.Add(1)
	}
}

// current notes whether an object exists, and its references.
func (c *checker) current(w *worker, o object, oid zodb.OID, s state) {
	if s != missing && o.Serial != 0 && len(o.Data) == 0 && !c.minimal {
		c.counts.undone.Add(1) // an undone creation or a deletion: it does not exist
		return
	}
	c.tally(w).exist(oid)
	if s == missing || s == unusable && o.Serial == 0 {
		c.blind.Store(true)
		c.unseen(true)
		return
	}
	c.currentReferences(w, oid, o)
}

// minimalObject checks the one file of an object of a Minimal storage.
func (c *checker) minimalObject(w *worker, oid zodb.OID) {
	o, s, defect := c.readObject(w, layout.Object(oid))
	if s == missing {
		return
	}
	t := c.tally(w)
	t.objects++
	t.exist(oid)
	c.countRevision(w, o)
	if s == unusable {
		c.unseen(true)
		c.out.add(defect)
		return
	}
	c.newer.seen(c, t, oid, o.Serial)
	c.currentReferences(w, oid, o)
}
