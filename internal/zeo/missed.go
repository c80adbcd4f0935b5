package zeo

import (
	"cmp"
	"slices"

	"github.com/dirstorage/dirstorage/zodb"
)

// maxMissedOIDs bounds the memory of the invalidation queue beside the number of
// transactions: 8 bytes each.
const maxMissedOIDs = 1 << 20

// missed is the invalidation queue: the last transactions and their objects, oldest
// first, without a gap. The oldest entry only marks the beginning of the others. hub.mu
// guards it.
type missed struct {
	limit   int
	entries []missedEntry // oldest first
	oids    int           // in all entries
}

type missedEntry struct {
	tid  zodb.TID
	oids []zodb.OID // sorted
}

func newMissed(limit int) missed { return missed{limit: limit} }

// sortedOIDs returns the objects of a transaction for [missed.add].
func sortedOIDs(oids []zodb.OID) []zodb.OID {
	if slices.IsSorted(oids) {
		return oids
	}
	return slices.Sorted(slices.Values(oids))
}

// add adds a transaction. The oids are sorted, and nobody changes them any more.
func (m *missed) add(tid zodb.TID, oids []zodb.OID) {
	m.entries = append(m.entries, missedEntry{tid, oids})
	m.oids += len(oids)
	for len(m.entries) > 1 && (len(m.entries) > m.limit || m.oids > maxMissedOIDs) {
		m.oids -= len(m.entries[0].oids)
		m.entries[0] = missedEntry{}
		m.entries = m.entries[1:]
	}
}

// reaches reports whether everything later than since is in the queue.
func (m *missed) reaches(since zodb.TID) bool {
	return len(m.entries) > 0 && m.entries[0].tid <= since
}

// lastChange returns the last transaction after since that changed an object, 0
// if there is none. known is false if the queue does not reach back that far. It looks into the
// transactions after since, which are those of the time that one read takes.
func (m *missed) lastChange(oid zodb.OID, since zodb.TID) (tid zodb.TID, known bool) {
	if !m.reaches(since) {
		return 0, false
	}
	for i := len(m.entries) - 1; m.entries[i].tid > since; i-- {
		if _, changed := slices.BinarySearch(m.entries[i].oids, oid); changed {
			return m.entries[i].tid, true
		}
	}
	return 0, true
}

// since returns the objects changed after a transaction, each oid once; known is false if
// the queue does not hold that transaction. One that only lies between two others is
// of another history, so its successors are unknown, see the decision on histories.
func (m *missed) since(tid zodb.TID) (oids []zodb.OID, known bool) {
	at, known := slices.BinarySearchFunc(m.entries, tid, func(e missedEntry, tid zodb.TID) int { return cmp.Compare(e.tid, tid) })
	if !known {
		return nil, false
	}
	seen := make(map[zodb.OID]struct{})
	for i := len(m.entries) - 1; i > at; i-- {
		for _, oid := range m.entries[i].oids {
			if _, again := seen[oid]; !again {
				seen[oid] = struct{}{}
				oids = append(oids, oid)
			}
		}
	}
	return oids, true
}
