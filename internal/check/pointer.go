package check

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// pointer is a pointer file as read.
type pointer struct {
	tid  zodb.TID
	path string
	size int64
}

// oldPointerSize is the length of a pointer file in the old form, with a magic.
const oldPointerSize = 12

// readPointer reads the pointer of an object. It reports nothing; for an
// unusable one defect says what is wrong.
func (c *checker) readPointer(w *worker, oid zodb.OID) (p pointer, s state, defect Finding) {
	data, where, err := c.v.read(w, layout.Pointer(oid))
	p = pointer{path: where, size: int64(len(data))}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, missing, Finding{}
	case err != nil && !errors.Is(err, errLength):
		return p, unusable, c.object(Unreadable, oid, 0, where, err.Error())
	}
	if err == nil {
		p.tid, err = record.ParsePointer(data, where, oid)
	}
	if err != nil {
		kind, detail := PointerLength, fmt.Sprintf("%d bytes", len(data))
		if len(data) == oldPointerSize {
			kind, detail = PointerMagic, fmt.Sprintf("begins with % X", data[:4])
		}
		return p, unusable, c.object(kind, oid, 0, where, detail)
	}
	return p, sound, Finding{}
}

func (c *checker) countPointer(p pointer) {
	c.counts.objects.Add(1)
	c.countFile(p.size)
	if p.size == oldPointerSize {
		c.counts.oldPointers.Add(1)
	}
}

// current notes whether an object exists and what it refers to.
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
