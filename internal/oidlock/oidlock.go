// Package oidlock locks sets of objects for transactions. A set is taken all
// at once or not at all, so that no two transactions can wait for each other.
// Waiters are served in the order in which they came: one that could run waits
// all the same if an earlier one wants something of it, so that nobody starves.
//
// There are two things to lock about an object. Its revision: exclusive to write it, shared to rely
// on its serial. And its existence: shared to store a new reference to it, exclusive to make it go
// away; so that a reference and a deletion cannot pass each other unseen.
//
// A set that waits costs those nothing that have no key in common with it: each key has a line of
// its own, and a request that ends looks at the lines of its own keys. A large set gets in line,
// and out of it, in pieces, between which others have their turn. A key takes about 60 bytes of
// memory, in the set and in the table.
package oidlock

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// Key is one thing that can be locked.
type Key struct {
	OID       zodb.OID
	Existence bool // false: the revision
}

func (k Key) compare(other Key) int {
	if c := cmp.Compare(k.OID, other.OID); c != 0 || k.Existence == other.Existence {
		return c
	}
	if k.Existence {
		return 1
	}
	return -1
}

// Set is the set of locks that one owner wants or holds. The zero value is empty. It may be copied
// before it is given to Lock, which changes it.
type Set struct {
	entries []entry
	// Owner is a number of the caller's for the owner of the locks, which [Table.Waits] returns.
	Owner uint64
}

// NewSet returns an empty set with room for n keys.
func NewSet(n int) Set { return Set{entries: make([]entry, 0, n)} }

// Add adds a key. One that was added before is wanted exclusively if it was either time.
func (s *Set) Add(k Key, exclusive bool) {
	if n := len(s.entries); n == cap(s.entries) && n >= 1024 {
		s.tidy() // many objects may refer to the same one
	}
	s.entries = append(s.entries, entry{oid: k.OID, existence: k.Existence, exclusive: exclusive})
}

// tidy puts the keys into their order, each once.
func (s *Set) tidy() {
	byKey := func(a, b entry) int { return a.key().compare(b.key()) }
	if !slices.IsSortedFunc(s.entries, byKey) {
		slices.SortFunc(s.entries, byKey)
	}
	n := 0
	for _, e := range s.entries {
		if n > 0 && s.entries[n-1].key() == e.key() {
			s.entries[n-1].exclusive = s.entries[n-1].exclusive || e.exclusive
			continue
		}
		s.entries[n] = e
		n++
	}
	s.entries = s.entries[:n]
}

// Table holds all locks of a storage. The zero value is ready. All methods may
// be called concurrently.
type Table struct {
	mu    sync.Mutex
	lines [2]map[zodb.OID]*entry // guarded by mu: the first in line, for the revision and the existence
	most  [2]int                 // guarded by mu: how many lines each had since it was made
	came  uint64                 // guarded by mu: how many requests came
	wait  map[*Request]struct{}  // guarded by mu: those that are in line and were not granted
	steps int                    // guarded by mu: entries that were looked at since mu was taken
}

// pieceSteps is after how many entries the table is left to others for a moment.
const pieceSteps = 2048

// Request is a set that is wanted, and held once Lock has returned it.
type Request struct {
	table   *Table
	entries []entry // one for each key, in their order
	owner   uint64

	// Guarded by Table.mu:
	number  uint64 // of its arrival
	inLine  bool   // all its entries are in line
	blocked int    // how many of its entries in line have to wait
	granted bool

	served chan struct{} // closed when it is granted
	atOnce bool          // it did not have to wait; of the goroutine that asks
}

// entry is a request in the line of one of its keys. A line has the requests for one key
// by their arrival, those included to whom it was granted. An entry has to wait for those
// that exclude it: if they are earlier, or if it was granted to them. Table.mu guards next and
// blocked.
type entry struct {
	oid       zodb.OID
	request   *Request
	next      *entry
	existence bool
	exclusive bool
	blocked   bool
}

func (e *entry) key() Key { return Key{e.oid, e.existence} }

// Lock takes the whole set, waiting until that is possible or ctx ends. It
// reports whether it had to wait. The set belongs to the request from then on.
func (t *Table) Lock(ctx context.Context, want Set) (r *Request, waited bool, err error) {
	r = newRequest(t, want)
	n := r.getInLine(ctx)
	if n < len(r.entries) {
		r.leave(n)
		return nil, false, ctx.Err()
	}
	if r.atOnce {
		return r, false, nil
	}
	select {
	case <-r.served:
		return r, true, nil
	case <-ctx.Done():
		r.leave(n) // it may have been granted at the same moment
		return nil, true, ctx.Err()
	}
}

func newRequest(t *Table, want Set) *Request {
	want.tidy()
	r := &Request{table: t, entries: want.entries, owner: want.Owner, served: make(chan struct{})}
	for i := range r.entries {
		r.entries[i].request = r
	}
	return r
}

// Unlock gives back the locks of a request. It is called once.
func (r *Request) Unlock() { r.leave(len(r.entries)) }

// Covers reports whether the held locks are enough for a set, which it puts into order.
func (r *Request) Covers(want *Set) bool {
	want.tidy()
	has := r.entries
	for i := range want.entries {
		e := &want.entries[i]
		for len(has) > 0 && has[0].key().compare(e.key()) < 0 {
			has = has[1:]
		}
		if len(has) == 0 || has[0].key() != e.key() || e.exclusive && !has[0].exclusive {
			return false
		}
	}
	return true
}

// Held returns the number of keys that are locked. It looks at each.
func (t *Table) Held() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, lines := range t.lines {
		for _, head := range lines {
			for e := head; e != nil; e = e.next {
				if e.request.granted {
					n++
					break
				}
			}
		}
	}
	return n
}

// Waiting returns how many requests wait.
func (t *Table) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.wait)
}

// getInLine puts the entries in line, and returns how many it put before ctx ended.
func (r *Request) getInLine(ctx context.Context) int {
	t := r.table
	t.mu.Lock()
	defer t.mu.Unlock()
	t.came++
	r.number, t.steps = t.came, 0
	for i := range r.entries {
		t.insert(&r.entries[i])
		if t.pause() && ctx.Err() != nil {
			return i + 1
		}
	}
	r.inLine = true
	r.grant()
	if r.atOnce = r.granted; !r.granted {
		if t.wait == nil {
			t.wait = make(map[*Request]struct{})
		}
		t.wait[r] = struct{}{}
	}
	return len(r.entries)
}

// leave takes the first n entries out of their lines. Each key is free for others
// at once.
func (r *Request) leave(n int) {
	t := r.table
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = 0
	r.inLine = false // one that gave up is not granted any more
	delete(t.wait, r)
	for i := range r.entries[:n] {
		t.remove(&r.entries[i])
		t.pause()
	}
	t.shrink()
}

// pause lets others have the table if it was held for long. mu must be held.
func (t *Table) pause() bool {
	if t.steps++; t.steps < pieceSteps {
		return false
	}
	t.mu.Unlock()
	runtime.Gosched()
	t.mu.Lock()
	t.steps = 0
	return true
}

// largeTable is from how many lines on a map that is empty is not kept.
const largeTable = 4096

// shrink gives back the memory of lines that are not there any more: a map keeps it. mu
// must be held.
func (t *Table) shrink() {
	for i := range t.lines {
		if t.most[i] >= largeTable && len(t.lines[i]) == 0 {
			t.lines[i], t.most[i] = nil, 0
		}
	}
}

// of returns the lines for the kind of key that an entry is of. mu must be held.
func (t *Table) of(e *entry) map[zodb.OID]*entry { return t.lines[kind(e)] }

func kind(e *entry) int {
	if e.existence {
		return 1
	}
	return 0
}

// insert puts an entry in line, by the arrival of its request. mu must be held.
func (t *Table) insert(e *entry) {
	lines := t.of(e)
	if lines == nil {
		lines = make(map[zodb.OID]*entry)
		t.lines[kind(e)] = lines
	}
	head := lines[e.oid]
	if head == nil {
		lines[e.oid] = e
		t.most[kind(e)] = max(t.most[kind(e)], len(lines))
		return
	}
	if head.request.number > e.request.number {
		e.next = head
		lines[e.oid] = e
		t.grantLine(e)
		return
	}
	before := head
	for before.next != nil && before.next.request.number < e.request.number {
		before = before.next
		t.steps++
	}
	e.next, before.next = before.next, e
	t.grantLine(head)
}

// remove takes an entry out of its line. mu must be held.
func (t *Table) remove(e *entry) {
	lines := t.of(e)
	head := lines[e.oid]
	if head == e {
		head = e.next
		if head == nil {
			delete(lines, e.oid)
			return
		}
		lines[e.oid] = head
	} else {
		before := head
		for before.next != e {
			before = before.next
			t.steps++
		}
		before.next = e.next
	}
	e.next = nil
	t.grantLine(head)
}

// grantLine notes for each entry in a line whether it has to wait, and grants the requests
// that wait for nothing any more. mu must be held.
func (t *Table) grantLine(head *entry) {
	var held, before struct{ shared, exclusive bool }
	for e := head; e != nil; e = e.next {
		t.steps++
		if e.request.granted {
			held.exclusive = held.exclusive || e.exclusive
			held.shared = held.shared || !e.exclusive
		}
	}
	for e := head; e != nil; e = e.next {
		if e.request.granted {
			continue
		}
		blocked := held.exclusive || before.exclusive || e.exclusive && (held.shared || before.shared)
		before.exclusive = before.exclusive || e.exclusive
		before.shared = before.shared || !e.exclusive
		switch {
		case blocked && !e.blocked:
			e.request.blocked++
		case !blocked && e.blocked:
			e.request.blocked--
		}
		e.blocked = blocked
		e.request.grant()
	}
}

// grant gives a request all that it wants, if nothing is in the way. That changes
// nothing for those in its lines: they waited for it already. mu must be held.
func (r *Request) grant() {
	if r.inLine && !r.granted && r.blocked == 0 {
		r.granted = true
		delete(r.table.wait, r)
		close(r.served)
	}
}
