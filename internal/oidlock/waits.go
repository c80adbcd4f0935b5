package oidlock

import (
	"cmp"
	"maps"
	"slices"
)

// Wait is one request that waits.
type Wait struct {
	Owner uint64 // of the request
	Key   Key    // the first key for which it waits
	// Holder is the owner of the request that keeps Key from it. Held: that one has the lock. Else it
	// waits as well, and came earlier.
	Holder uint64
	Held   bool
	// Known is false where the key was not found among the first ones of a very large request: Key,
	// Holder and Held are not known then.
	Known bool
}

// mostLooked is the number of keys that one call of Waits looks at, while it holds the table.
const mostLooked = 1 << 16

// Waits returns the requests that wait, the earliest first, most of them at most. It costs nothing
// where nobody waits.
func (t *Table) Waits(most int) []Wait {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.wait) == 0 {
		return nil
	}
	byArrival := func(a, b *Request) int { return cmp.Compare(a.number, b.number) }
	requests := slices.SortedFunc(maps.Keys(t.wait), byArrival)
	list := make([]Wait, 0, min(len(requests), most))
	left := mostLooked
	for _, r := range requests[:cap(list)] {
		list = append(list, t.explain(r, &left))
	}
	return list
}

// explain finds the cause of a wait, and takes from left the number of keys that it looked at. mu must
// be held.
func (t *Table) explain(r *Request, left *int) Wait {
	w := Wait{Owner: r.owner}
	for i := range r.entries {
		if *left--; *left < 0 {
			break
		}
		e := &r.entries[i]
		if !e.blocked {
			continue
		}
		w.Key, w.Known = e.key(), true
		earlier := true
		for other := t.of(e)[e.oid]; other != nil; other = other.next {
			switch {
			case other == e:
				earlier = false
			case !other.exclusive && !e.exclusive:
			case other.request.granted:
				w.Holder, w.Held = other.request.owner, true
				return w
			case earlier && w.Holder == 0:
				w.Holder = other.request.owner
			}
		}
		return w
	}
	return w
}
