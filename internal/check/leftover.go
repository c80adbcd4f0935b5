package check

import "github.com/dirstorage/dirstorage/zodb"

// A pack sets x.packed first, then removes in steps: pointers of objects that
// nothing reaches, durably; then revisions, each before its blob; then
// transactions, past which the chain was linked before. A crash, or a backup
// that is made meanwhile, shows A between two steps or, of one step, any part. All
// of that is before x.packed, and the next pack removes the rest; here is what tells
// it from damage.

// leftByPack is said about it.
const leftByPack = "this can be left by an interrupted pack, and the next one repairs it"

// everPacked reports whether there was a pack and it is known to when.
func (c *checker) everPacked() bool { return c.packed != 0 && c.packed != zodb.MaxTID }

// beforePack reports whether a revision is older than the last pack. So it is one
// that this pack may have removed if nothing reaches its object.
func (c *checker) beforePack(tid zodb.TID) bool { return c.everPacked() && tid < c.packed }

// packable reports whether the last pack may have removed a revision of an object
// that stays; next is the one after it. What was current at x.packed stays too.
func (c *checker) packable(next, tid zodb.TID) bool { return next <= c.packed && c.beforePack(tid) }
