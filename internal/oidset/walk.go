package oidset

import (
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// cursorRoom is how many oids of each shard a walk has in memory.
const cursorRoom = 512

// Each yields all oids of s, in ascending order. An oid that is added meanwhile
// may be yielded or not. The loop may add oids to s.
func (s *Set) Each() iter.Seq[zodb.OID] { return s.walk(nil) }

// Without yields, in ascending order, the oids of s that are not in other. For an
// oid that is added to one of the sets meanwhile, see Each.
func (s *Set) Without(other *Set) iter.Seq[zodb.OID] { return s.walk(other) }

func (s *Set) walk(other *Set) iter.Seq[zodb.OID] {
	return func(yield func(zodb.OID) bool) {
		var cursors [shards]cursor
		for i := range cursors {
			cursors[i].in = &s.shards[i]
			if other != nil {
				cursors[i].not = &other.shards[i]
			}
			cursors[i].fill()
		}
		for {
			// Neighbours are in the same shard: its oids are yielded up to the
			// first one of any other shard.
			least, bound := (*cursor)(nil), ^uint64(0)
			for i := range cursors {
				c := &cursors[i]
				switch {
				case len(c.oids) == 0:
				case least == nil:
					least = c
				case c.oids[0] < least.oids[0]:
					least, bound = c, least.oids[0]
				default:
					bound = min(bound, c.oids[0])
				}
			}
			if least == nil {
				return
			}
			for len(least.oids) > 0 && least.oids[0] <= bound {
				oid := least.oids[0]
				least.oids = least.oids[1:]
				if !yield(zodb.OID(oid)) {
					return
				}
				if len(least.oids) == 0 {
					least.fill()
				}
			}
		}
	}
}

// cursor is a place in a shard.
type cursor struct {
	in, not *shard // not is nil or has oids to leave out
	next    uint64 // the next oid to be read, or a lower one
	end     bool   // nothing comes after oids
	oids    []uint64
	room    []uint64
}

// fill reads oids until there are some, or until the end. It holds a lock of one
// set at a time, so that walks of two sets cannot wait for each other.
func (c *cursor) fill() {
	for len(c.oids) == 0 && !c.end {
		c.room = c.in.read(c.room[:0], c.next)
		switch n := len(c.room); {
		case n < cursorRoom || c.room[n-1] == ^uint64(0):
			c.end = true
		default:
			c.next = c.room[n-1] + 1
		}
		c.oids = c.room
		if c.not != nil {
			c.oids = c.not.drop(c.oids)
		}
	}
}

// read appends the oids from first on, at most cursorRoom.
func (p *shard) read(oids []uint64, first uint64) []uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	it := p.bits.Iterator()
	it.AdvanceIfNeeded(first)
	for len(oids) < cursorRoom && it.HasNext() {
		oids = append(oids, it.Next())
	}
	return oids
}

// drop removes from oids, in place, those that the shard has.
func (p *shard) drop(oids []uint64) []uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	kept := oids[:0]
	for _, oid := range oids {
		if !p.bits.Contains(oid) {
			kept = append(kept, oid)
		}
	}
	return kept
}
