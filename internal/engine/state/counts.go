package state

import (
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// CountsOf converts the counts of a store.
func CountsOf(n store.Counts) zodb.Counts {
	return zodb.Counts{Objects: n.Objects, Revisions: n.Revisions, Transactions: n.Transactions, Bytes: n.Bytes, BlobBytes: n.BlobBytes}
}

// Combine adds (sign 1) or takes away (sign -1) other counts.
func Combine(n *zodb.Counts, o zodb.Counts, sign int64) {
	n.Objects += sign * o.Objects
	n.Revisions += sign * o.Revisions
	n.Transactions += sign * o.Transactions
	n.Bytes += sign * o.Bytes
	n.BlobBytes += sign * o.BlobBytes
}

// AddBatch counts transactions that are flushed.
func AddBatch(n *zodb.Counts, batch []*Committed, full bool) {
	for _, c := range batch {
		Combine(n, c.counts(full), 1)
	}
	if !full {
		n.Exact = false // the sizes of replaced revisions are unknown
	}
}

// counts returns the growth by a transaction.
func (c *Committed) counts(full bool) (n zodb.Counts) {
	for i := range c.Records {
		e := &c.Records[i]
		if e.Previous == 0 {
			n.Objects++
		}
		if full || e.Previous == 0 {
			n.Revisions++
		}
		n.Bytes += record.ObjectHeaderSize + e.Len + e.BlobSize
		n.BlobBytes += e.BlobSize
	}
	if full {
		n.Transactions++
		n.Bytes += int64(record.TransactionHeaderSize + len(c.Meta.User) + len(c.Meta.Description) + len(c.Meta.Extension) + 8*len(c.Records))
	}
	return n
}

// Counts returns the counts of everything, unflushed transactions included.
func (s *State) Counts() zodb.Counts {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.counts
	Combine(&n, s.index.counts, 1)
	if s.o.Minimal && len(s.index.queue) > 0 {
		n.Exact = false
	}
	return n
}

// FlushedCounts returns the counts of everything flushed, and the last flushed transaction.
func (s *State) FlushedCounts() (zodb.Counts, zodb.TID) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.counts, s.flushed
}

// StartCounts sets the counts of everything flushed. For the open alone.
func (s *State) StartCounts(n zodb.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = n
}

// Recount adds n to the flushed counts (sign 1, brought back) or subtracts it (sign -1,
// removed), and returns them as FlushedCounts does.
func (s *State) Recount(n zodb.Counts, sign int64) (zodb.Counts, zodb.TID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	Combine(&s.counts, n, sign)
	return s.counts, s.flushed
}

// CountsAreInexact notes that the counts lack something from now on.
func (s *State) CountsAreInexact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Exact = false
}

// CountsOfA returns the counts of A as it was when the last snapshot was entered.
func (s *State) CountsOfA() zodb.Counts {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.countsOfA
}

// SetCounts replaces the counts of the moment at which the last snapshot was entered by
// those counted in it. It keeps all changes since, and returns the counts as
// FlushedCounts does. before is the result of CountsOfA at that moment.
func (s *State) SetCounts(counted, before zodb.Counts) (zodb.Counts, zodb.TID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	Combine(&counted, s.counts, 1)
	Combine(&counted, before, -1)
	s.counts = counted
	return s.counts, s.flushed
}
