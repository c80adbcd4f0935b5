package check

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// whole checks everything: one walk over all files, then a second look at everything that
// did not fit together.
func (c *checker) whole(ctx context.Context) {
	if c.o.Index != nil {
		c.o.Index.Begin(c.serial)
	}
	c.v.walk(ctx, c.workers, visitor{
		files: func(ctx context.Context, w *worker, entries []found) {
			for _, f := range entries {
				if ctx.Err() != nil {
					return
				}
				c.file(w, f)
			}
		},
		other: c.other,
		failed: func(dir string, err error) {
			c.out.add(Finding{Kind: Unreadable, Severity: Damage, Path: dir, Detail: err.Error()})
		},
		damage: c.out.add,
	})
	if ctx.Err() != nil {
		return
	}
	if c.o.Index != nil {
		c.o.Index.End(ctx, c.serialKnown && !c.out.overlooked)
	}
	c.needsRecovery()
	if !c.o.SnapshotOnly {
		c.abandoned()
	}
	c.checkX()
	c.dangling(ctx)
	if !c.minimal && ctx.Err() == nil {
		c.chain(ctx)
	}
	if ctx.Err() == nil && c.o.Root && c.counts.objects.Load() > c.counts.undone.Load() {
		c.root(ctx, new(worker))
	}
	if !c.minimal && ctx.Err() == nil {
		c.sets(ctx)
	}
}

// file checks one thing, or for a head the whole object behind it.
func (c *checker) file(w *worker, f found) {
	if f.waits {
		c.counts.filesInB.Add(1)
	}
	n := f.name
	switch {
	case n.Kind == layout.KindXOID || n.Kind == layout.KindXSerial || n.Kind == layout.KindXPacked:
		// These were read first.
	case f.head && c.minimal:
		c.minimalObject(w, n.OID)
	case f.head:
		c.tally(w).seenOID(n.OID)
		c.history(w, n.OID)
	case c.minimal || n.Kind == layout.KindObject:
		c.stray(f.path, fmt.Sprintf("a file of this kind has no place in a storage of class %s", c.class()))
	case n.Kind == layout.KindTransaction:
		c.newer.transaction(c, n.TID)
		c.transaction(w, n.TID)
	case n.Kind == layout.KindRevision:
		t := c.tally(w)
		c.newer.seen(c, t, n.OID, n.TID)
		bucket, sum := c.hash.revision(n.OID, n.TID)
		t.histories.add(bucket, sum)
		if n.TID >= c.packed {
			t.lists.add(bucket, sum)
		}
	case n.Kind == layout.KindBlob:
		c.blobsSeen.addRevision(n.OID, n.TID)
	}
}

func (c *checker) class() string {
	if c.minimal {
		return "Minimal"
	}
	return "Full"
}

// other looks at a file that has no database name.
func (c *checker) other(s stranger) {
	if s.kind != 0 { // the target of a link, for one
		c.out.overlook()
	}
	switch {
	case s.aside:
		c.counts.deleted.Add(1)
	case strings.HasSuffix(s.below, ".mark"):
		// The original's pack with “mark = file” leaves these, and passes over them.
		c.out.add(Finding{Kind: Leftover, Severity: Note, Path: s.path, Detail: "mark of a pack"})
	default:
		detail := "not the name of a database file in format " + c.format
		if strings.HasPrefix(path.Base(s.below), "#") {
			detail = "looks like a file that fsck found; “salvage” gives it back its name"
		}
		c.stray(s.path, detail)
	}
}

func (c *checker) stray(name, detail string) {
	c.out.add(Finding{Kind: StrayFile, Severity: Warning, Path: name, Detail: detail})
}

// newest keeps the highest ids in use, and the items later than x.serial.
type newest struct {
	oid               atomic.Uint64
	tid               atomic.Uint64
	laterTransactions atomic.Int64
	laterRevisions    atomic.Int64
}

func (m *newest) seen(c *checker, t *tally, oid zodb.OID, tid zodb.TID) {
	t.seenOID(oid)
	t.tid = max(t.tid, tid)
	if tid > c.serial {
		m.laterRevisions.Add(1)
	}
}

func (m *newest) transaction(c *checker, tid zodb.TID) {
	raise(&m.tid, uint64(tid))
	if tid > c.serial {
		m.laterTransactions.Add(1)
	}
}

func raise(a *atomic.Uint64, v uint64) {
	for {
		old := a.Load()
		if v <= old || a.CompareAndSwap(old, v) {
			return
		}
	}
}

// checkX compares the x files with the ids that were seen.
func (c *checker) checkX() {
	highest := zodb.OID(c.newer.oid.Load())
	if c.maxOIDKnown && highest > c.maxOID {
		c.xOIDLow(highest)
	}
	transactions, revisions := c.newer.laterTransactions.Load(), c.newer.laterRevisions.Load()
	if c.serialKnown && transactions+revisions > 0 {
		c.out.add(Finding{Kind: XSerialOld, Severity: Damage, Path: c.serialPath,
			Detail: fmt.Sprintf("it is %s, but later than that there are %s and %s, the last of %s",
				c.serial, human.Number(transactions, "transaction"), human.Number(revisions, "revision"), zodb.TID(c.newer.tid.Load()))})
	}
}

func (c *checker) xOIDLow(highest zodb.OID) {
	c.out.add(Finding{Kind: XOIDLow, Severity: Damage, Path: c.maxOIDPath,
		Detail: fmt.Sprintf("it is %s, but object %s exists: new objects would get oids that are in use", c.maxOID, highest)})
}
