package bundled

import (
	"io"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// counterMemory in bytes limits the set of oids of a counter. 10 million oids take 1.2 MB, unless
// they are far apart.
const counterMemory = 64 << 20

// counterBatch is how many objects are put into the set at a time.
const counterBatch = 4096

// Counter implements [store.Copies]: members that packs removed are counted as well.
func (Copies) Counter() store.Counter {
	return &counter{others: others().Counter(), objects: oidset.New(counterMemory), some: make([]zodb.OID, 0, counterBatch)}
}

type counter struct {
	others  store.Counter  // of blobs and marks
	open    *bundle.Census // of the last file; nil: it is not a bundle
	counts  store.Counts   // of the bundles before
	objects *oidset.Set    // of all of them
	full    bool           // objects took no more
	some    []zodb.OID     // that are not in objects yet
}

// File implements [store.Counter].
func (c *counter) File(path string, size int64) io.Writer {
	c.end()
	_, number, _, ok := parsePath(path)
	switch {
	case !ok:
		return c.others.File(path, size)
	case number > 0:
		return nil
	}
	c.open = bundle.NewCensus(size, path, func(oid zodb.OID) {
		if c.some = append(c.some, oid); len(c.some) == cap(c.some) {
			c.add()
		}
	})
	return c.open
}

// end adds the counts of the last file. Those of a bundle without a good footer are not known.
func (c *counter) end() {
	if c.open == nil {
		return
	}
	c.add()
	if i, err := c.open.End(); err == nil {
		c.counts.Revisions += i.Revisions
		c.counts.Transactions += i.Transactions
	}
	c.open = nil
}

// add puts the objects into the set.
func (c *counter) add() {
	if len(c.objects.AddAll(c.some)) > 0 {
		c.full = true
	}
	c.some = c.some[:0]
}

// Counts implements [store.Counter].
func (c *counter) Counts() store.Counts {
	c.end()
	n := c.others.Counts()
	n.Revisions += c.counts.Revisions
	n.Transactions += c.counts.Transactions
	if !c.full {
		n.Objects += c.objects.Len()
	}
	return n
}
