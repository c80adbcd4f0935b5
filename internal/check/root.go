package check

import (
	"context"
	"errors"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// root reports that there is no root object although there are others. Applications find
// everything from it, and would begin a new database beside the old one, of which the
// next pack would leave nothing. Other faults of its files are found elsewhere.
//
// It is a warning as long as nothing says that there ever was one: bench writes objects into a new
// storage, and no root. A transaction that lists the root says so, and a pack, which does nothing
// without one. Where a transaction is lost or cannot be read, or there may be others that the check does not
// come to, nobody knows. Class Minimal has no history: there it is damage.
func (c *checker) root(ctx context.Context, w *worker) {
	if c.minimal {
		if _, where, err := c.v.size(layout.Object(zodb.RootOID)); errors.Is(err, fs.ErrNotExist) {
			c.out.add(c.object(RootMissing, zodb.RootOID, 0, where, "there are other objects"))
		}
		return
	}
	p, s, _ := c.v.head(w, zodb.RootOID)
	if s == missing {
		f := c.object(RootMissing, zodb.RootOID, 0, p.path, "there are other objects")
		if c.packed == 0 && c.neverHadRoot(ctx, w) {
			f.Severity, f.Detail = Warning, "there are other objects, and no transaction has ever written one: an application makes it when it opens the storage"
		}
		c.out.add(f)
	}
	if s != sound {
		return
	}
	size, where, err := c.v.size(layout.Revision(zodb.RootOID, p.tid))
	if err == nil && size == record.ObjectHeaderSize {
		c.out.add(c.object(RootMissing, zodb.RootOID, p.tid, where, "its creation was undone, or it was deleted"))
	}
}

// neverHadRoot reports whether no transaction has written the root object. With Since, those before it are
// read for that, too, down to one that has.
func (c *checker) neverHadRoot(ctx context.Context, w *worker) bool {
	for tid := c.serial; c.o.Since != 0 && tid != 0 && !c.hadRoot.Load(); {
		t, s, _ := c.readTransaction(w, tid)
		if s == missing || ctx.Err() != nil {
			return false
		}
		tid = t.previous
	}
	return !c.hadRoot.Load() && !c.out.overlooked
}
