package check

import (
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// countHead counts an object that has a head, which was read.
func (c *checker) countHead(h head) {
	c.counts.objects.Add(1)
	if h.size > 0 { // else it is no file
		c.countFile(h.size)
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
	c.exists.Add(oid)
	if s == missing || s == unusable && o.Serial == 0 {
		c.blind.Store(true)
		c.unseen()
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
	c.counts.objects.Add(1)
	c.counts.revisions.Add(1)
	c.countFile(o.size)
	c.exists.Add(oid)
	if s == unusable {
		c.unseen()
		c.out.add(defect)
		return
	}
	if o.noMD5 {
		c.counts.withoutMD5.Add(1)
	}
	c.newer.seen(c, oid, o.Serial)
	c.currentReferences(w, oid, o)
}
