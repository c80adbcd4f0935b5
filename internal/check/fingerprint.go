package check

import (
	"hash/maphash"
	"iter"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/zodb"
)

// buckets is the number of parts into which a set is divided, so that a
// difference can be found without looking at everything again. 128 kB a set, if it is large.
const buckets = 1 << 14

// grouped is how many buckets get their memory together.
const grouped = 1 << 7

// member is one element of a set of revisions; a transaction has oid 0.
type member struct {
	oid zodb.OID
	tid zodb.TID
}

// hasher is the key of one run. Revisions of one object fall into one bucket.
type hasher struct{ seed maphash.Seed }

func (h hasher) objectBucket(oid zodb.OID) int {
	return int(maphash.Comparable(h.seed, oid) % buckets)
}

func (h hasher) transactionBucket(tid zodb.TID) int {
	return int(maphash.Comparable(h.seed, tid) % buckets)
}

// revision returns the bucket and the hash of a revision.
func (h hasher) revision(oid zodb.OID, tid zodb.TID) (bucket int, sum uint64) {
	return h.objectBucket(oid), h.sum(member{oid, tid})
}

func (h hasher) sum(m member) uint64 { return maphash.Comparable(h.seed, m) }

// fingerprint stands for a multiset: sums of hashes, modulo 2⁶⁴, by bucket.
// The order of additions does not matter. It may be used concurrently.
type fingerprint struct {
	h    hasher
	sums [buckets / grouped]atomic.Pointer[[grouped]atomic.Uint64] // nil: zeros
}

func (f *fingerprint) addRevision(oid zodb.OID, tid zodb.TID) { f.add(f.h.revision(oid, tid)) }

func (f *fingerprint) addTransaction(tid zodb.TID) {
	f.add(f.h.transactionBucket(tid), f.h.sum(member{0, tid}))
}

func (f *fingerprint) removeTransaction(tid zodb.TID) {
	f.add(f.h.transactionBucket(tid), -f.h.sum(member{0, tid}))
}

func (f *fingerprint) add(bucket int, sum uint64) {
	at := &f.sums[bucket/grouped]
	group := at.Load()
	if group == nil {
		at.CompareAndSwap(nil, new([grouped]atomic.Uint64))
		group = at.Load()
	}
	group[bucket%grouped].Add(sum)
}

func (f *fingerprint) sum(bucket int) uint64 {
	if group := f.sums[bucket/grouped].Load(); group != nil {
		return group[bucket%grouped].Load()
	}
	return 0
}

// addLocal adds what one worker has added to a set and removed.
func (f *fingerprint) addLocal(l *localSums) {
	for i, group := range l {
		if group == nil {
			continue
		}
		for k, sum := range group {
			if sum != 0 {
				f.add(i*grouped+k, sum)
			}
		}
	}
}

// localSums are those of a fingerprint as far as one worker adds to them. The zero value is
// empty.
type localSums [buckets / grouped]*[grouped]uint64

func (l *localSums) add(bucket int, sum uint64) {
	group := l[bucket/grouped]
	if group == nil {
		group = new([grouped]uint64)
		l[bucket/grouped] = group
	}
	group[bucket%grouped] += sum
}

func (l *localSums) remove(bucket int, sum uint64) { l.add(bucket, -sum) }

// bucketSet is a set of bucket numbers.
type bucketSet struct {
	bits  [buckets]bool
	count int
}

// addDifference adds the buckets in which two sets differ.
func (s *bucketSet) addDifference(a, b *fingerprint) {
	for i := range buckets {
		if a.sum(i) != b.sum(i) {
			s.add(i)
		}
	}
}

// addSome adds the buckets in which a set is not empty.
func (s *bucketSet) addSome(a *fingerprint) { s.addDifference(a, new(fingerprint)) }

func (s *bucketSet) add(i int) {
	if !s.bits[i] {
		s.bits[i] = true
		s.count++
	}
}

// parts divides the set into sets of at most n buckets.
func (s *bucketSet) parts(n int) iter.Seq[*bucketSet] {
	return func(yield func(*bucketSet) bool) {
		part := &bucketSet{}
		for i, in := range s.bits {
			if in {
				part.add(i)
			}
			if part.count == n {
				if !yield(part) {
					return
				}
				part = &bucketSet{}
			}
		}
		if part.count > 0 {
			yield(part)
		}
	}
}
