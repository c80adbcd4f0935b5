// Package oidlock locks sets of objects for transactions. A set is taken all
// at once or not at all, so that no two transactions can wait for each other.
// Waiters are served in the order in which they came: one that could run waits
// all the same if an earlier one wants something of it, so that nobody starves.
//
// There are two things to lock about an object. Its revision: exclusively by
// who writes it, shared by who relies on its serial. And its existence: shared
// by who stores a new reference to it, exclusively by who makes it go away; so
// that a reference and a deletion cannot pass each other unseen.
package oidlock

import (
	"context"
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
// be called concurrently, those of one Owner by one goroutine at a time.
type Table struct {
	mu      sync.Mutex
	held    map[Key]*state // guarded by mu
	waiting []*waiter      // guarded by mu; in order of arrival
}

type state struct {
	exclusive bool
	owners    int
}

type waiter struct {
	want    Set
	granted chan struct{}
	done    bool // guarded by Table.mu
}

// Lock takes the whole set, waiting until that is possible or ctx ends. It
// reports whether it had to wait.
func (t *Table) Lock(ctx context.Context, want Set) (waited bool, err error) {
	t.mu.Lock()
	if t.held == nil {
		t.held = make(map[Key]*state)
	}
	if t.free(want) && !t.wantedEarlier(want, len(t.waiting)) {
		t.take(want)
		t.mu.Unlock()
		return false, nil
	}
	w := &waiter{want: want, granted: make(chan struct{})}
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()

	select {
	case <-w.granted:
		return true, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.done { // granted at the same moment
		t.release(want)
	} else {
		for i, other := range t.waiting {
			if other == w {
				t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
				break
			}
		}
	}
	t.serve()
	return true, ctx.Err()
}

// Unlock gives back a set that Lock took.
func (t *Table) Unlock(held Set) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(held)
	t.serve()
}

// Held returns the number of keys that are locked.
func (t *Table) Held() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.held)
}

// serve grants what can be granted, in order.
func (t *Table) serve() {
	kept := t.waiting[:0]
	for i, w := range t.waiting {
		if t.free(w.want) && !t.overlaps(w.want, kept) {
			t.take(w.want)
			w.done = true
			close(w.granted)
			continue
		}
		kept = append(kept, t.waiting[i])
	}
	clear(t.waiting[len(kept):])
	t.waiting = kept
}

func (t *Table) wantedEarlier(want Set, n int) bool { return t.overlaps(want, t.waiting[:n]) }

// overlaps reports whether one of ws waits for something that want excludes.
func (t *Table) overlaps(want Set, ws []*waiter) bool {
	for _, w := range ws {
		for k, exclusive := range want {
			if other, ok := w.want[k]; ok && (exclusive || other) {
				return true
			}
		}
	}
	return false
}

func (t *Table) free(want Set) bool {
	for k, exclusive := range want {
		if s := t.held[k]; s != nil && (exclusive || s.exclusive) {
			return false
		}
	}
	return true
}

func (t *Table) take(want Set) {
	for k, exclusive := range want {
		s := t.held[k]
		if s == nil {
			s = &state{}
			t.held[k] = s
		}
		s.owners++
		s.exclusive = exclusive
	}
}

func (t *Table) release(held Set) {
	for k := range held {
		s := t.held[k]
		if s.owners--; s.owners == 0 {
			delete(t.held, k)
		}
	}
}
