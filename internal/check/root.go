package check

import (
	"errors"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// root reports that there is no root object although there are others. Applications find
// everything from it, and would begin a new database beside the old one, of which the
// next pack would leave nothing. Other faults of its files are found elsewhere.
func (c *checker) root(w *worker) {
	if c.minimal {
		if _, where, err := c.v.size(layout.Object(zodb.RootOID)); errors.Is(err, fs.ErrNotExist) {
			c.out.add(c.object(RootMissing, zodb.RootOID, 0, where, "there are other objects"))
		}
		return
	}
	p, s, _ := c.v.head(w, zodb.RootOID)
	if s == missing {
		c.out.add(c.object(RootMissing, zodb.RootOID, 0, p.path, "there are other objects"))
	}
	if s != sound {
		return
	}
	size, where, err := c.v.size(layout.Revision(zodb.RootOID, p.tid))
	if err == nil && size == record.ObjectHeaderSize {
		c.out.add(c.object(RootMissing, zodb.RootOID, p.tid, where, "its creation was undone, or it was deleted"))
	}
}
