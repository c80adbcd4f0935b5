package state

import (
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// Counts is how much a storage holds. Sizes are those of the files, without
// what the file system adds.
type Counts struct {
	Objects      int64 `json:"objects"` // with a pointer, also those that were deleted and not yet packed away
	Revisions    int64 `json:"revisions"`
	Transactions int64 `json:"transactions"`
	Bytes        int64 `json:"bytes"` // of revisions, transactions and blobs
	BlobBytes    int64 `json:"blob_bytes"`
	// Exact is false if nothing was counted before the storage was first opened
	// here. Objects is then the highest oid plus one, which is never too small,
	// and the rest counts only what came since.
	Exact bool `json:"exact"`
}

// Combine adds (sign 1) or takes away (sign -1) other counts.
func (n *Counts) Combine(o Counts, sign int64) {
	n.Objects += sign * o.Objects
	n.Revisions += sign * o.Revisions
	n.Transactions += sign * o.Transactions
	n.Bytes += sign * o.Bytes
	n.BlobBytes += sign * o.BlobBytes
}

// EstimateDisk estimates what the files that were counted take up on the disk: at least a
// block each. What packs have put aside is not counted.
func (n Counts) EstimateDisk() int64 {
	records, bytes := n.Revisions+n.Transactions, n.Bytes-n.BlobBytes
	return n.Objects*DiskBlock + max(records*DiskBlock, bytes+records*DiskBlock/2) + n.BlobBytes
}

// Add counts transactions that are flushed.
func (n *Counts) Add(batch []*Committed, full bool) {
	for _, c := range batch {
		n.Combine(c.counts(full), 1)
	}
	if !full {
		n.Exact = false // the sizes of what is replaced are not known
	}
}

// counts returns what a transaction adds.
func (c *Committed) counts(full bool) (n Counts) {
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

// Counts returns the counts of everything, what is not flushed included.
func (s *State) Counts() Counts {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.counts
	n.Combine(s.index.counts, 1)
	if s.o.Minimal && len(s.index.queue) > 0 {
		n.Exact = false
	}
	return n
}

// FlushedCounts returns the counts of what is flushed, and up to which transaction that is.
func (s *State) FlushedCounts() (Counts, zodb.TID) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.counts, s.flushed
}

// StartCounts sets the counts of what is flushed. For the open alone.
func (s *State) StartCounts(n Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = n
}

// Recount changes the counts of what is flushed by what was brought back or removed (sign 1
// or -1), and returns them as FlushedCounts does.
func (s *State) Recount(n Counts, sign int64) (Counts, zodb.TID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Combine(n, sign)
	return s.counts, s.flushed
}

// CountsAreInexact notes that the counts lack something from now on.
func (s *State) CountsAreInexact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Exact = false
}

// CountsOfA returns the counts of A as it was when the last snapshot was entered.
func (s *State) CountsOfA() Counts {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.countsOfA
}

// SetCounts replaces what the counts were when the last snapshot was entered by what was
// counted in it, keeps what came since, and returns the counts as FlushedCounts does.
// before is what CountsOfA returned then.
func (s *State) SetCounts(counted, before Counts) (Counts, zodb.TID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counted.Combine(s.counts, 1)
	counted.Combine(before, -1)
	s.counts = counted
	return s.counts, s.flushed
}
