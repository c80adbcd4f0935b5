// Package oidset is a set of oids in compressed bitmaps.
package oidset

import (
	"sync"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/dirstorage/dirstorage/zodb"
)

const (
	shards = 16
	// A container of the bitmaps has the oids that differ in their last 16 bits. It
	// holds each of them in two bytes, or all in one bit each, or runs of oids.
	containerBits = 16
	// The bytes that a container and its place in the lists take beside that, measured:
	// the first for one that is alone among 2^32 oids.
	arrayOverhead  = 160
	bitmapOverhead = 64
)

// Set is a set of oids. Dense oids take one bit each: 10 million objects are 1.2 MB.
// An oid without neighbours takes 160 bytes. A set has a limit, because a damaged
// file can name any oid. It may be used concurrently.
type Set struct {
	limit  int64
	used   atomic.Int64 // bytes, as the shards last counted them
	shards [shards]shard
}

type shard struct {
	mu    sync.RWMutex
	bits  roaring64.Bitmap // guarded by mu, as all below
	used  int64            // bytes of bits when they were last counted
	spare int64            // oids that may be added before they are counted again
}

// New returns an empty set that may take limit bytes. With less than 160 of
// them there is room for nothing.
func New(limit int64) *Set { return &Set{limit: limit} }

func (s *Set) shard(oid zodb.OID) *shard { return &s.shards[oid>>containerBits%shards] }

// Add puts an oid into the set. It reports whether there was room, and whether
// the oid is new. There is always room for an oid that is in the set.
func (s *Set) Add(oid zodb.OID) (ok, fresh bool) {
	if s.Has(oid) {
		return true, false
	}
	p := s.shard(oid)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spare == 0 && !s.count(p) {
		return p.bits.Contains(uint64(oid)), false
	}
	fresh = p.bits.CheckedAdd(uint64(oid))
	if fresh {
		p.spare--
	}
	return true, fresh
}

// count counts the bytes of a shard, gives it a share of the room that is left in
// the set, and reports whether there was any. p.mu must be held.
func (s *Set) count(p *shard) bool {
	now := p.size()
	room := s.limit - s.used.Add(now-p.used)
	p.used = now
	if room < arrayOverhead {
		return false
	}
	p.spare = max(1, room/arrayOverhead/shards)
	return true
}

// size returns how many bytes a shard takes. p.mu must be held.
func (p *shard) size() int64 {
	st := p.bits.Stats()
	arrays := st.ArrayContainerBytes * 5 / 4 // they grow in steps
	return int64(arrays + st.RunContainerBytes + st.BitmapContainerBytes +
		(st.ArrayContainers+st.RunContainers)*arrayOverhead + st.BitmapContainers*bitmapOverhead)
}

// Has reports whether an oid is in the set.
func (s *Set) Has(oid zodb.OID) bool {
	p := s.shard(oid)
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.bits.Contains(uint64(oid))
}

// Len returns the number of oids in the set.
func (s *Set) Len() int64 {
	n := uint64(0)
	for i := range s.shards {
		p := &s.shards[i]
		p.mu.RLock()
		n += p.bits.GetCardinality()
		p.mu.RUnlock()
	}
	return int64(n)
}
