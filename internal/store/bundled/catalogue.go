package bundled

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// opened is a bundle that can be read, of as many views as count. Its file is open or not, see [pool].
type opened struct {
	*bundle.Reader
	name  bundle.Name
	side  store.Side
	path  string // relative to HOME
	size  int64  // of the file
	short uint32 // see short
	refs  atomic.Int64

	pool    *pool
	opening sync.Mutex             // held while the file is opened
	end     *end                   // guarded by opening
	file    atomic.Pointer[handle] // nil: it is not open; changed with the lock of the pool
	used    atomic.Bool            // it was read since the pool looked
	pinned  bool                   // guarded by the lock of the pool; its file stays open, because the name goes

	// tried is the highest number of a gone list that was tried, of the goroutine that
	// puts: after an error it may be there.
	tried uint64
	// noted is the number of a list that is lost; 0: none is. Set before it is in a view.
	noted uint64
	// summed is the list of removed members whose sum was computed last; guarded by the lock of
	// the table.
	summed    *bundle.Gone
	summedSum string
	// waste is how much of it packs have removed for good; nil: nobody knows yet.
	waste atomic.Pointer[waste]
	// damaged: a merge could not read all of it, and none is tried again.
	damaged atomic.Bool
	// recalled: that was known from the process before this one, and nobody has looked again; set
	// before it is in a view, then of the chore.
	recalled bool
	// rebuilt: its index is damaged, and was made again of the members; set before it is in a view.
	rebuilt bool
	// Of the chore: where the look has failed, when it is tried again, and how long the wait was.
	lookAt   time.Time
	lookWait time.Duration
}

// part is a bundle in a view.
type part struct {
	*opened
	gone   *bundle.Gone // nil: nothing is
	number uint64       // of that list; 0: it is the one that the bundle carries, or there is none
}

// view is all bundles that count at a moment, in order of their ranges. It is never changed.
type view struct {
	parts []part
	refs  atomic.Int64
	// leftovers are names in the directories that do not count: superseded bundles, and gone lists
	// that are not the last. Relative to HOME.
	leftovers []string
	// passed are the damaged files that are passed over, relative to HOME.
	passed []string
	// marked is x.serial, if it is later than all ranges: the transactions between are lost. Else 0.
	marked zodb.TID
}

// catalogue has the view that is read now.
type catalogue struct {
	mu  sync.RWMutex
	now *view // guarded by mu
}

// view returns the current view. The caller gives it back by release.
func (c *catalogue) view() *view {
	c.mu.RLock()
	defer c.mu.RUnlock()
	c.now.refs.Add(1)
	return c.now
}

// publish makes a view the current one, and returns the error of closing bundles that nobody reads
// any more.
func (c *catalogue) publish(next *view) error {
	next.refs.Store(1)
	for _, p := range next.parts {
		p.refs.Add(1)
	}
	c.mu.Lock()
	before := c.now
	c.now = next
	c.mu.Unlock()
	if before == nil {
		return nil
	}
	return before.release()
}

// release gives a view back. The error of closing a file that was only read is of no concern to
// readers.
func (v *view) release() error {
	if v.refs.Add(-1) > 0 {
		return nil
	}
	var errs []error
	for _, p := range v.parts {
		if p.refs.Add(-1) == 0 {
			errs = append(errs, p.pool.close(p.opened))
		}
	}
	return errors.Join(errs...)
}

// last returns the last transaction of the ranges; 0: there is none.
func (v *view) last() zodb.TID {
	if len(v.parts) == 0 {
		return 0
	}
	return v.parts[len(v.parts)-1].name.Max
}

// upTo returns how many parts have ranges that begin at a tid or before.
func (v *view) upTo(tid zodb.TID) int {
	return sort.Search(len(v.parts), func(i int) bool { return v.parts[i].name.Min > tid })
}

// of returns the part whose range has a tid; -1: there is none.
func (v *view) of(tid zodb.TID) int {
	i := v.upTo(tid) - 1
	if i < 0 || v.parts[i].name.Max < tid {
		return -1
	}
	return i
}

// goneSum is the beginning of the SHA-256 of the list of removed members, in hexadecimal. The lock of the table
// is held, or nobody else knows of the part.
func (p *part) goneSum() string {
	if p.gone == nil {
		return noList
	}
	if p.summed != p.gone {
		b, err := p.gone.Append(nil)
		if err != nil {
			return unknownSum
		}
		sum := sha256.Sum256(b)
		p.summed, p.summedSum = p.gone, hex.EncodeToString(sum[:notedSum])
	}
	return p.summedSum
}

// member returns the number of a transaction's entry among all members.
func (p *part) member(transaction int64) int64 { return p.Revisions + transaction }

// find returns a revision that is not gone; number -1: there is none.
func (v *view) find(oid zodb.OID, tid zodb.TID) (p *part, e bundle.Revision, number int64, err error) {
	i := v.of(tid)
	if i < 0 {
		return nil, e, -1, v.lostAt(tid)
	}
	p = &v.parts[i]
	if e, number, err = p.Find(oid, tid); err == nil && number >= 0 && p.gone.Has(number) {
		number = -1
	}
	return p, e, number, err
}

// transaction returns a transaction that is not gone; number -1: there is none.
func (v *view) transaction(tid zodb.TID) (p *part, e bundle.Transaction, number int64, err error) {
	i := v.of(tid)
	if i < 0 {
		return nil, e, -1, v.lostAt(tid)
	}
	p = &v.parts[i]
	e, number, err = p.LatestTransaction(tid)
	if err != nil || number < 0 || e.TID != tid || p.gone.Has(p.member(number)) {
		return p, e, -1, err
	}
	return p, e, p.member(number), nil
}

// newest returns the newest revision of an object, gone or not; number -1: there is none.
func (v *view) newest(oid zodb.OID) (p *part, e bundle.Revision, number int64, err error) {
	return v.before(oid, ^zodb.TID(0))
}

// before returns the newest revision of an object up to a tid, gone or not. Where a bundle is lost
// that may have had a newer one, the error says so.
func (v *view) before(oid zodb.OID, tid zodb.TID) (p *part, e bundle.Revision, number int64, err error) {
	if tid > v.last() && v.marked != 0 {
		return nil, e, -1, lost(v.marked)
	}
	for i := v.upTo(tid) - 1; i >= 0; i-- {
		p = &v.parts[i]
		if e, number, err = p.Latest(oid, tid); err != nil || number >= 0 {
			return p, e, number, err
		}
		if v.gapBelow(i) {
			return nil, e, -1, lost(p.Previous)
		}
	}
	return nil, e, -1, nil
}

// has reports whether all that a bundle has was in the ranges of bundles of a view.
func (v *view) has(n bundle.Name) bool {
	first, last := v.of(n.Min), v.of(n.Max)
	return first >= 0 && last >= 0 && v.parts[first].name.Min == n.Min && v.parts[last].name.Max == n.Max
}

// gapBelow reports whether a bundle is missing before a part.
func (v *view) gapBelow(i int) bool {
	below := zodb.TID(0)
	if i > 0 {
		below = v.parts[i-1].name.Max
	}
	return v.parts[i].Previous != below
}

// whole reports whether no bundle is missing.
func (v *view) whole() bool {
	for i := range v.parts {
		if v.gapBelow(i) {
			return false
		}
	}
	return v.marked == 0
}

// lostAt returns an error if a bundle is missing that may have had a transaction, which is in
// no range.
func (v *view) lostAt(tid zodb.TID) error {
	i := v.upTo(tid)
	switch {
	case tid == 0: // which no transaction has
		return nil
	case i == len(v.parts) && tid <= v.marked:
		return lost(v.marked)
	case i < len(v.parts) && v.gapBelow(i) && tid <= v.parts[i].Previous:
		return lost(v.parts[i].Previous)
	}
	return nil
}

func lost(tid zodb.TID) error {
	return &zodb.CorruptError{Path: dirOf(store.A), TID: tid, Reason: "the bundle that ends with this transaction is missing"}
}

// current returns the current revision of an object; number -1: it has none.
func (v *view) current(oid zodb.OID) (p *part, e bundle.Revision, number int64, err error) {
	p, e, number, err = v.newest(oid)
	if err == nil && number >= 0 && p.gone.Has(number) {
		number = -1
	}
	return p, e, number, err
}
