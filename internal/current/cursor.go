package current

import "github.com/dirstorage/dirstorage/zodb"

// mostAhead is how many pages a cursor reads at a time at most.
const mostAhead = 64

// Cursor reads the slots of objects in order of their oids, many with one read. Nobody may put
// anything into the table meanwhile. One goroutine uses it.
type Cursor struct {
	t     *Table
	first uint32 // page that was read, and how many
	pages uint32
	ahead uint32 // pages to be read the next time
	good  uint32 // one more than a page that is to be believed; 0: none is known
	b     []byte
}

// Cursor begins with any object.
func (t *Table) Cursor() *Cursor { return &Cursor{t: t} }

// Get is [Table.Get].
func (c *Cursor) Get(oid zodb.OID) (Slot, error) {
	page, ok := c.t.extents.Load().find(uint64(oid) / slotsInPage)
	if !ok {
		return Slot{}, nil
	}
	if page-c.first >= c.pages {
		c.read(page)
	}
	if page-c.first < c.pages {
		b := c.b[int(page-c.first)*pageSize:][:pageSize]
		if c.good != page+1 {
			if ok, err := c.t.versions.believed(b, page); ok && err == nil {
				c.good = page + 1
			}
		}
		if c.good == page+1 {
			if s, ok := parseSlot(b[uint64(oid)%slotsInPage*slotSize:], oid); ok {
				return s, nil
			}
		}
	}
	return c.t.Get(oid) // which says what is wrong
}

// read reads a page, and those behind it if the last ones were read one behind the other.
func (c *Cursor) read(page uint32) {
	c.ahead = min(2*c.ahead, mostAhead)
	if page != c.first+c.pages || c.ahead == 0 {
		c.ahead = 1
	}
	if c.b == nil {
		c.b = make([]byte, mostAhead*pageSize)
	}
	// An error is that of a page which is not there: it comes back in Get, if it is wanted.
	n, _ := c.t.file.ReadAt(c.b[:c.ahead*pageSize], offsetOf(page))
	c.first, c.pages, c.good = page, uint32(n/pageSize), 0
}
