package state

import (
	"slices"

	"github.com/dirstorage/dirstorage/zodb"
)

// Version counts the changes of the index. A read of the index and then of files is
// consistent if the version is the same before and after.
func (s *State) Version() uint64 { return s.version.Load() }

// LastTID returns the last published transaction; 0 if there is none.
func (s *State) LastTID() zodb.TID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last
}

// FlushedTID returns the last flushed transaction; 0 if there is none.
func (s *State) FlushedTID() zodb.TID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.flushed
}

// Current returns the newest unflushed revision of an object, if there is one.
func (s *State) Current(oid zodb.OID) (Revision, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.current(oid)
}

// CurrentAndGeneration is Current, with the generation at that moment: a revision that the
// caller then reads from a file may be put into the cache under it.
func (s *State) CurrentAndGeneration(oid zodb.OID) (r Revision, ok bool, generation uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok = s.index.current(oid)
	return r, ok, s.generation
}

// Revision returns one unflushed revision, if it is there.
func (s *State) Revision(oid zodb.OID, tid zodb.TID) (Revision, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.revision(oid, tid)
}

// RevisionBefore returns the newest unflushed revision of an object before a transaction, if
// there is one. end is the revision that replaced it. If there is none, end and previous
// are the oldest unflushed revision and the one that it says was before it; 0 if the object
// has none at all.
func (s *State) RevisionBefore(oid zodb.OID, before zodb.TID) (r Revision, end, previous zodb.TID, ok bool) {
	var one [1]Revision
	s.mu.RLock()
	revs := s.index.of(oid, &one)
	for i := len(revs) - 1; i >= 0; i-- {
		if r = revs[i]; r.TID < before {
			s.mu.RUnlock()
			return r, end, previous, true
		}
		end, previous = r.TID, r.Entry.Previous
	}
	s.mu.RUnlock()
	return Revision{}, end, previous, false
}

// OlderRevision returns the newest tid before another one under which the journal has an
// unflushed revision of an object; 0 if there is none.
func (s *State) OlderRevision(oid zodb.OID, before zodb.TID) (older zodb.TID) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var one [1]Revision
	for _, r := range s.index.of(oid, &one) {
		if r.TID < before {
			older = max(older, r.TID)
		}
	}
	return older
}

// Transaction returns an unflushed transaction; nil if it is not there.
func (s *State) Transaction(tid zodb.TID) *Committed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.transaction(tid)
}

// OlderTransaction returns the newest unflushed transaction before another one; 0 if there
// is none.
func (s *State) OlderTransaction(before zodb.TID) (older zodb.TID) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.index.queue {
		if c.TID < before {
			older = max(older, c.TID)
		}
	}
	return older
}

// Unflushed returns all unflushed transactions, in the order of their tids.
func (s *State) Unflushed() []*Committed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.index.queue)
}

// OIDs returns all objects that have unflushed revisions.
func (s *State) OIDs() map[zodb.OID]bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	set := make(map[zodb.OID]bool, len(s.index.one)+len(s.index.many))
	for oid := range s.index.oids() {
		set[oid] = true
	}
	return set
}

// NextOID returns the smallest oid from one on that has unflushed revisions, if there is one.
func (s *State) NextOID(from zodb.OID) (next zodb.OID, found bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for oid := range s.index.oids() {
		if oid >= from && (!found || oid < next) {
			next, found = oid, true
		}
	}
	return next, found
}

// LatestTID is later than the tid of any transaction; clients of the network
// server mean “the current one” by it.
const LatestTID zodb.TID = 1<<63 - 1
