package check

import (
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/zodb"
)

// A pack sets x.packed first, then removes in steps: pointers of objects that
// nothing reaches, durably; then revisions, each before its blob; then
// transactions, past which the chain was linked before. A crash, or a backup
// that is made meanwhile, shows A between two steps or, of one step, any part. All
// of that is before x.packed, and the next pack removes the rest; here it is told from
// damage.

// leftByPack is said about it.
const leftByPack = "this can be left by an interrupted pack, and the next one repairs it"

// everPacked reports whether there was a pack and it is known to when.
func (c *checker) everPacked() bool { return c.packed != 0 && c.packed != zodb.MaxTID }

// beforePack reports whether a revision is older than the last pack. So it is one
// that this pack may have removed if nothing reaches its object.
func (c *checker) beforePack(tid zodb.TID) bool { return c.everPacked() && tid < c.packed }

// packable reports whether the last pack may have removed a revision of an object
// that stays; next is the one after it, and since the result of keptSince for the object.
// The revision that was current at x.packed stays too.
func (c *checker) packable(next, tid, since zodb.TID) bool {
	return next <= c.packed && tid < since && c.beforePack(tid)
}

// keptSince returns from when on the last pack kept all revisions of an object with
// that current revision: x.packed, or earlier by keepclass. A rule may be younger than
// the pack, so the revisions that it keeps need not be there; but those that are there
// stay.
func (c *checker) keptSince(current object) zodb.TID {
	if len(c.keep) == 0 || !c.everPacked() {
		return c.packed
	}
	k, ok := c.keep[class(current.Data)]
	if !ok {
		return c.packed
	}
	at := c.packed.Time().Add(-k.Extra)
	if k.Forever || at.Before(zodb.TID(0).Time()) {
		return 0
	}
	return min(c.packed, zodb.TIDFromTime(at))
}

// readKeepClass reads the rules of section keepclass; one that says nothing counts for nothing.
func (c *checker) readKeepClass(set *settings.Settings) {
	c.keep = make(map[string]settings.Keep)
	for class, value := range set.KeepClass {
		if k, err := settings.ParseKeep(value); err == nil {
			c.keep[class] = k
		}
	}
}
