// Package oidlock locks sets of objects for transactions. A set is taken all
// at once or not at all, so that no two transactions can wait for each other.
// Waiters are served in the order in which they came: one that could run waits
// all the same if an earlier one wants something of it, so that nobody starves.
//
// There are two things to lock about an object. Its revision: exclusively by
// who writes it, shared by who relies on its serial. And its existence: shared
// by who stores a new reference to it, exclusively by who makes it go away; so
// that a reference and a deletion cannot pass each other unseen.
//
// A set that waits costs those nothing that have no key in common with it: each
// key has a line of its own, and what ends looks at the lines of its own keys. A
// large set gets in line, and out of it, in pieces, between which others have
// their turn.
package oidlock

import (
	"context"
	"runtime"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// Key is one thing that can be locked.
type Key struct {
	OID       zodb.OID
	Existence bool // false: the revision
}

// Set is what one owner wants or holds: true = exclusively, false = shared.
type Set map[Key]bool

// Table holds all locks of a storage. The zero value is ready. All methods may
// be called concurrently.
type Table struct {
	mu    sync.Mutex
	lines map[Key]line // guarded by mu; none is empty
	came  uint64       // guarded by mu: how many requests came
	steps int          // guarded by mu: entries that were looked at since mu was taken
}

// pieceSteps is after how many entries the table is left to others for a moment.
const pieceSteps = 2048

// Request is a set that is wanted, and held once Lock has returned it.
type Request struct {
	table   *Table
	want    Set
	entries []entry // one for each key of want

	// Guarded by Table.mu:
	number  uint64 // of its arrival
	inLine  bool   // all its entries are in line
	blocked int    // how many of its entries in line have to wait
	granted bool

	served chan struct{} // closed when it is granted
	atOnce bool          // it did not have to wait; of the goroutine that asks
}

// entry is a request in the line of one of its keys. Table.mu guards all but the key.
type entry struct {
	next, prev *entry
	request    *Request
	key        Key
	exclusive  bool
	blocked    bool
}

// line has the requests for one key by their arrival, those included to whom it was
// granted. An entry has to wait for those that exclude it: if they are earlier, or if
// it was granted to them.
type line struct{ head, tail *entry }

// Lock takes the whole set, waiting until that is possible or ctx ends. It
// reports whether it had to wait. The set must not be changed afterwards.
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
	r := &Request{table: t, want: want, entries: make([]entry, 0, len(want)), served: make(chan struct{})}
	for k, exclusive := range want {
		r.entries = append(r.entries, entry{request: r, key: k, exclusive: exclusive})
	}
	return r
}

// Unlock gives back what Lock returned. It is called once.
func (r *Request) Unlock() { r.leave(len(r.entries)) }

// Covers reports whether what is held is enough for a set.
func (r *Request) Covers(want Set) bool {
	for k, exclusive := range want {
		has, ok := r.want[k]
		if !ok || exclusive && !has {
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
	for _, l := range t.lines {
		for e := l.head; e != nil; e = e.next {
			if e.request.granted {
				n++
				break
			}
		}
	}
	return n
}

// Waiting returns how many requests wait. It looks at each.
func (t *Table) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := make(map[*Request]bool)
	for _, l := range t.lines {
		for e := l.head; e != nil; e = e.next {
			if !e.request.granted {
				waiting[e.request] = true
			}
		}
	}
	return len(waiting)
}

// getInLine puts the entries in line, and returns how many it put before ctx ended.
func (r *Request) getInLine(ctx context.Context) int {
	t := r.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil {
		t.lines = make(map[Key]line)
	}
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
	r.atOnce = r.granted
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
	for i := range r.entries[:n] {
		t.remove(&r.entries[i])
		t.pause()
	}
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

// insert puts an entry in line, by the arrival of its request. mu must be held.
func (t *Table) insert(e *entry) {
	l := t.lines[e.key]
	e.prev = l.tail
	for e.prev != nil && e.prev.request.number > e.request.number {
		e.prev = e.prev.prev
		t.steps++
	}
	if e.prev == nil {
		e.next, l.head = l.head, e
	} else {
		e.next, e.prev.next = e.prev.next, e
	}
	if e.next == nil {
		l.tail = e
	} else {
		e.next.prev = e
	}
	t.lines[e.key] = l
	if l.head != l.tail {
		t.judge(l)
	}
}

// remove takes an entry out of its line. mu must be held.
func (t *Table) remove(e *entry) {
	l := t.lines[e.key]
	if e.prev == nil {
		l.head = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.tail = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.next, e.prev = nil, nil
	if l.head == nil {
		delete(t.lines, e.key)
		return
	}
	t.lines[e.key] = l
	t.judge(l)
}

// judge says of each entry in a line whether it has to wait, and grants the requests
// that wait for nothing any more. mu must be held.
func (t *Table) judge(l line) {
	var held, before struct{ shared, exclusive bool }
	for e := l.head; e != nil; e = e.next {
		t.steps++
		if e.request.granted {
			held.exclusive = held.exclusive || e.exclusive
			held.shared = held.shared || !e.exclusive
		}
	}
	for e := l.head; e != nil; e = e.next {
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
		close(r.served)
	}
}
