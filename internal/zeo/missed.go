package zeo

import (
	"cmp"
	"slices"

	"github.com/dirstorage/dirstorage/zodb"
)

// maxMissedOIDs bounds the memory of the invalidation queue beside the number of
// transactions: 8 bytes each, and an entry of a map.
const maxMissedOIDs = 1 << 20

// missed is the invalidation queue: the last transactions and their objects, oldest
// first, without a gap. The oldest entry only marks the beginning of the others. hub.mu
// guards it.
type missed struct {
	limit   int
	entries []missedEntry // oldest first
	oids    int           // in all entries
	changes map[zodb.OID]zodb.TID
}

type missedEntry struct {
	tid  zodb.TID
	oids []zodb.OID
}

func newMissed(limit int) missed {
	return missed{limit: limit, changes: make(map[zodb.OID]zodb.TID)}
}

func (m *missed) add(tid zodb.TID, oids []zodb.OID) {
	m.entries = append(m.entries, missedEntry{tid, oids})
	m.oids += len(oids)
	for _, oid := range oids {
		m.changes[oid] = tid
	}
	for len(m.entries) > 1 && (len(m.entries) > m.limit || m.oids > maxMissedOIDs) {
		old := m.entries[0]
		for _, oid := range old.oids {
			if m.changes[oid] == old.tid {
				delete(m.changes, oid)
			}
		}
		m.oids -= len(old.oids)
		m.entries[0] = missedEntry{}
		m.entries = m.entries[1:]
	}
}

// reaches reports whether everything later than since is in the queue.
func (m *missed) reaches(since zodb.TID) bool {
	return len(m.entries) > 0 && m.entries[0].tid <= since
}

// lastChange returns the last transaction after since that changed an object, 0
// if there is none. known is false if the queue does not reach back that far.
func (m *missed) lastChange(oid zodb.OID, since zodb.TID) (tid zodb.TID, known bool) {
	if !m.reaches(since) {
		return 0, false
	}
	if tid = m.changes[oid]; tid <= since {
		tid = 0
	}
	return tid, true
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
