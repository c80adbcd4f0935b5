package oidset

import (
	"slices"

	"github.com/dirstorage/dirstorage/zodb"
)

// fewNeighbours is up to how many oids of one container are added one by one.
const fewNeighbours = 4

// AddAll puts oids into the set, and takes its locks once for each run of neighbours. It sorts
// oids. It returns those for which there was no room, ascending.
func (s *Set) AddAll(oids []zodb.OID) (left []zodb.OID) {
	slices.Sort(oids)
	oids = slices.Compact(oids)
	run := make([]uint64, 0, len(oids))
	for len(oids) > 0 {
		n := 1
		for n < len(oids) && oids[n]>>containerBits == oids[0]>>containerBits {
			n++
		}
		if n <= fewNeighbours {
			left = s.addEach(oids[:n], left)
		} else if run = appendUints(run[:0], oids[:n]); !s.addRun(s.shard(oids[0]), run) {
			left = s.addEach(oids[:n], left)
		}
		oids = oids[n:]
	}
	return left
}

func appendUints(dst []uint64, oids []zodb.OID) []uint64 {
	for _, oid := range oids {
		dst = append(dst, uint64(oid))
	}
	return dst
}

func (s *Set) addEach(oids, left []zodb.OID) []zodb.OID {
	for _, oid := range oids {
		if ok, _ := s.Add(oid); !ok {
			left = append(left, oid)
		}
	}
	return left
}

// addRun adds oids of one shard, if there is room for each of them as if it were new.
func (s *Set) addRun(p *shard, run []uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spare < int64(len(run)) && (!s.count(p) || p.spare < int64(len(run))) {
		return false
	}
	p.bits.AddMany(run)
	p.spare -= int64(len(run))
	return true
}
