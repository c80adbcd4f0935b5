// Package oidset is a set of oids that takes one bit for each oid in the range in use.
package oidset

import (
	"iter"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/zodb"
)

const (
	pageBits  = 1 << 15 // oids a page stands for; a page is 4 kB
	pageWords = pageBits / 64
	shards    = 16
)

// Set is a set of oids that takes one bit for each oid in the range that is
// in use: 10 million objects are 1.2 MB. It has a limit, because a damaged file
// can name any oid. It may be used concurrently.
type Set struct {
	limit  int64 // pages
	pages  atomic.Int64
	shards [shards]shard
}

type shard struct {
	mu    sync.RWMutex
	pages map[uint64]*oidPage // guarded by mu; what a page holds is not
}

type oidPage [pageWords]atomic.Uint64

// New returns an empty set that may take so many bytes, one page at least.
func New(limitBytes int64) *Set {
	return &Set{limit: max(1, limitBytes/(pageBits/8))}
}

// Add puts an oid into the set. It reports whether there was room, and whether
// the oid is new.
func (s *Set) Add(oid zodb.OID) (ok, fresh bool) {
	p := s.page(uint64(oid)/pageBits, true)
	if p == nil {
		return false, false
	}
	bit := uint64(1) << (oid % 64)
	old := p[uint64(oid)%pageBits/64].Or(bit)
	return true, old&bit == 0
}

// Has reports whether an oid is in the set.
func (s *Set) Has(oid zodb.OID) bool {
	p := s.page(uint64(oid)/pageBits, false)
	return p != nil && p[uint64(oid)%pageBits/64].Load()>>(oid%64)&1 != 0
}

func (s *Set) page(number uint64, create bool) *oidPage {
	shard := &s.shards[number%shards]
	shard.mu.RLock()
	p := shard.pages[number]
	shard.mu.RUnlock()
	if p != nil || !create {
		return p
	}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if p := shard.pages[number]; p != nil {
		return p
	}
	if s.pages.Add(1) > s.limit {
		s.pages.Add(-1)
		return nil
	}
	if shard.pages == nil {
		shard.pages = make(map[uint64]*oidPage)
	}
	p = new(oidPage)
	shard.pages[number] = p
	return p
}

// Without yields, in ascending order, the oids of s that are not in other. What
// is added to one of them meanwhile may be seen or not.
func (s *Set) Without(other *Set) iter.Seq[zodb.OID] {
	return func(yield func(zodb.OID) bool) {
		var numbers []uint64
		for i := range s.shards {
			s.shards[i].mu.RLock()
			for n := range s.shards[i].pages {
				numbers = append(numbers, n)
			}
			s.shards[i].mu.RUnlock()
		}
		slices.Sort(numbers)
		for _, n := range numbers {
			mine, theirs := s.page(n, false), other.page(n, false)
			for w := range mine {
				rest := mine[w].Load()
				if theirs != nil {
					rest &^= theirs[w].Load()
				}
				for ; rest != 0; rest &= rest - 1 {
					oid := n*pageBits + uint64(w)*64 + uint64(bits.TrailingZeros64(rest))
					if !yield(zodb.OID(oid)) {
						return
					}
				}
			}
		}
	}
}

// Each yields all oids of s, in ascending order. See Without.
func (s *Set) Each() iter.Seq[zodb.OID] { return s.Without(new(Set)) }
